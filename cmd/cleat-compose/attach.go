package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// onOne returns a verb that is one of "cleat" itself, for one container of a
// service: argv makes its command line of that container's id.
func onOne(c *cli, cmd *cobra.Command, argv func(id string, args []string) []string) *cobra.Command {
	index := cmd.Flags().Int("index", 0, "Index of the container if service has multiple replicas")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ct, err := c.one(cmd, args[0], *index)
		if err != nil {
			return err
		}
		return c.become(argv(ct.ID, args[1:])...)
	}
	return cmd
}

func newAttach(c *cli) *cobra.Command {
	cmd := &cobra.Command{Use: "attach [OPTIONS] SERVICE", Short: "Attach local standard input, output, and error streams to a service's running container", Args: cobra.ExactArgs(1)}
	fs := cmd.Flags()
	keys := fs.String("detach-keys", "", "Override the key sequence for detaching from a container.")
	noStdin := fs.Bool("no-stdin", false, "Do not attach STDIN")
	proxy := fs.Bool("sig-proxy", true, "Proxy all received signals to the process")
	return onOne(c, cmd, func(id string, _ []string) []string {
		argv := []string{"attach", fmt.Sprintf("--sig-proxy=%t", *proxy), fmt.Sprintf("--no-stdin=%t", *noStdin)}
		if *keys != "" {
			argv = append(argv, "--detach-keys", *keys)
		}
		return append(argv, id)
	})
}

func newCommit(c *cli) *cobra.Command {
	cmd := &cobra.Command{Use: "commit [OPTIONS] SERVICE [REPOSITORY[:TAG]]", Short: "Create a new image from a service container's changes", Args: cobra.RangeArgs(1, 2)}
	fs := cmd.Flags()
	author := fs.StringP("author", "a", "", `Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")`)
	message := fs.StringP("message", "m", "", "Commit message")
	pause := fs.BoolP("pause", "p", true, "Pause container during commit")
	changes := fs.StringArrayP("change", "c", nil, "Apply Dockerfile instruction to the created image")
	return onOne(c, cmd, func(id string, args []string) []string {
		argv := []string{"commit", fmt.Sprintf("--pause=%t", *pause), "--author=" + *author, "--message=" + *message}
		for _, change := range *changes {
			argv = append(argv, "--change", change)
		}
		return append(append(argv, id), args...)
	})
}

func newExport(c *cli) *cobra.Command {
	cmd := &cobra.Command{Use: "export [OPTIONS] SERVICE", Short: "Export a service container's filesystem as a tar archive", Args: cobra.ExactArgs(1)}
	output := cmd.Flags().StringP("output", "o", "", "Write to a file, instead of STDOUT")
	return onOne(c, cmd, func(id string, _ []string) []string {
		argv := []string{"export"}
		if *output != "" {
			argv = append(argv, "--output", *output)
		}
		return append(argv, id)
	})
}
