package main

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
)

// versionInfo is what version tells, in Docker's form. There is one program, so
// the client is the server as well.
type versionInfo struct {
	Client versionClient
	Server versionServer
}

type versionPart struct {
	Version    string
	APIVersion string `json:"ApiVersion"` // of Docker's Engine API, see 'cleat serve'
	GitCommit  string
	GoVersion  string
	Os         string
	Arch       string
	BuildTime  string
}

type versionClient struct {
	versionPart
	DefaultAPIVersion string
	Context           string
}

type versionServer struct {
	versionPart
	Platform      struct{ Name string }
	MinAPIVersion string
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
	p := versionPart{Version: version, APIVersion: apiVersion(engine.NewestAPI), GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH}
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
	components := []versionComponent{{"Engine", version, map[string]string{
		"ApiVersion": p.APIVersion, "Experimental": "false", "MinAPIVersion": apiVersion(engine.OldestAPI), "Arch": p.Arch, "BuildTime": p.BuildTime, "GitCommit": p.GitCommit, "GoVersion": p.GoVersion, "KernelVersion": kernel, "Os": p.Os,
	}}}
	return versionInfo{
		Client: versionClient{p, p.APIVersion, "default"},
		Server: versionServer{versionPart: p, MinAPIVersion: apiVersion(engine.OldestAPI), KernelVersion: kernel, Components: components},
	}
}

func apiVersion(n int) string { return "1." + strconv.Itoa(n) }

func versionText(info versionInfo) []byte {
	var b bytes.Buffer
	part := func(indent string, p versionPart, api string) {
		for _, line := range [][2]string{
			{"Version:", p.Version}, {"API version:", api}, {"Go version:", p.GoVersion}, {"Git commit:", p.GitCommit}, {"Built:", p.BuildTime}, {"OS/Arch:", p.Os + "/" + p.Arch},
		} {
			if line[1] != "" {
				fmt.Fprintf(&b, "%s%-18s %s\n", indent, line[0], line[1])
			}
		}
	}
	b.WriteString("Client:\n")
	part(" ", info.Client.versionPart, info.Client.APIVersion)
	b.WriteString("\nServer:\n Engine:\n")
	part("  ", info.Server.versionPart, fmt.Sprintf("%s (minimum version %s)", info.Server.APIVersion, info.Server.MinAPIVersion))
	return b.Bytes()
}
