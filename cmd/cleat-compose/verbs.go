package main

import "github.com/spf13/cobra"

func verbs(c *cli) []*cobra.Command {
	return []*cobra.Command{
		newAttach(c), newBuild(c), newCommit(c), newConfig(c), newCp(c), newCreate(c), newDown(c), newEvents(c), newExec(c), newExport(c), newGenerate(c), newImages(c), newKill(c), newLogs(c), newLs(c),
		newPause(c), newPort(c), newPs(c), newPull(c), newPush(c), newRestart(c), newRm(c), newRun(c), newScale(c), newStart(c), newStats(c), newStop(c),
		newTop(c), newUnpause(c), newUp(c), newVersion(c), newVolumes(c), newWait(c), newWatch(c),
	}
}
