package main

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
)

// versionInfo is what version tells, in Docker's form. There is one program, so
// the client is the server as well.
type versionInfo struct {
	Client versionPart
	Server versionServer
}

type versionPart struct {
	Version   string
	GitCommit string
	GoVersion string
	Os        string
	Arch      string
	BuildTime string
}

type versionServer struct {
	versionPart
	KernelVersion string
	Components    []versionComponent
}

type versionComponent struct {
	Name    string
	Version string
	Details map[string]string
}

func newVersion(c *cli) *cobra.Command {
	var layout string
	cmd := &cobra.Command{
		Use: "version [OPTIONS]", Short: "Show the version of cleat",
		Annotations: map[string]string{placeKey: placeAnywhere},
		Args:        exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", inspectFormatUsage)
	cmd.RunE = func(*cobra.Command, []string) error {
		info := newVersionInfo()
		if layout != "" {
			return format.Objects(c.out, layout, []any{info})
		}
		_, err := c.out.Write(versionText(info))
		return err
	}
	return cmd
}

func newVersionInfo() versionInfo {
	p := versionPart{Version: version, GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH}
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, s := range build.Settings {
			switch s.Key {
			case "vcs.revision":
				p.GitCommit = s.Value
			case "vcs.time":
				p.BuildTime = s.Value
			}
		}
	}
	var uts unix.Utsname
	kernel := ""
	if unix.Uname(&uts) == nil {
		kernel = unix.ByteSliceToString(uts.Release[:])
	}
	return versionInfo{p, versionServer{p, kernel, []versionComponent{{"Engine", version, map[string]string{
		"Arch": p.Arch, "BuildTime": p.BuildTime, "GitCommit": p.GitCommit, "GoVersion": p.GoVersion, "KernelVersion": kernel, "Os": p.Os,
	}}}}}
}

func versionText(info versionInfo) []byte {
	var b bytes.Buffer
	part := func(indent string, p versionPart) {
		for _, line := range [][2]string{
			{"Version:", p.Version}, {"Go version:", p.GoVersion}, {"Git commit:", p.GitCommit}, {"Built:", p.BuildTime}, {"OS/Arch:", p.Os + "/" + p.Arch},
		} {
			if line[1] != "" {
				fmt.Fprintf(&b, "%s%-18s %s\n", indent, line[0], line[1])
			}
		}
	}
	b.WriteString("Client:\n")
	part(" ", info.Client)
	b.WriteString("\nServer:\n Engine:\n")
	part("  ", info.Server.versionPart)
	return b.Bytes()
}
