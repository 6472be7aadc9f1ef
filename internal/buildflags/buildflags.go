// Package buildflags has the flags of "cleat build". Two programs share them: cleat,
// which shows and completes them and starts fast, and cleat-build, which has the
// parser of Dockerfiles and does the work.
package buildflags

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// Flags are the values of the flags, as they were given.
type Flags struct {
	File     string
	Target   string
	Platform string
	Network  string
	Progress string
	IIDFile  string
	Metadata string
	Memory   string
	ShmSize  string

	MemorySwap          string
	CPUSet              string
	CPUShares           int64
	CPUPeriod, CPUQuota int64 // in microseconds

	Tags, BuildArgs, Labels, Secrets, SSH, Hosts, Contexts, Outputs, Allow, Ulimits, NoCacheFilters, CacheFrom, CacheTo []string

	NoCache, Pull, Quiet, Push bool
}

// list is a flag that may be given several times.
type list struct {
	to   *[]string
	kind string // in the words of Docker's help; "" means "list"
}

// Set implements pflag.Value.
func (l list) Set(s string) error {
	*l.to = append(*l.to, s)
	return nil
}

// String implements pflag.Value.
func (l list) String() string {
	if l.to == nil {
		return ""
	}
	return strings.Join(*l.to, ",")
}

// Type implements pflag.Value.
func (l list) Type() string { return cmp.Or(l.kind, "list") }

// size is a number of bytes as text, which whoever gets it reads.
type size struct{ to *string }

// Set implements pflag.Value.
func (s size) Set(text string) error {
	*s.to = text
	return nil
}

// String implements pflag.Value.
func (s size) String() string {
	if s.to == nil {
		return ""
	}
	return *s.to
}

// Type implements pflag.Value.
func (size) Type() string { return "bytes" }

// Define adds the flags to fs.
func Define(fs *pflag.FlagSet) *Flags {
	f := &Flags{}
	fs.StringVarP(&f.File, "file", "f", "", `Name of the Dockerfile (default: "PATH/Dockerfile"); - reads it from stdin`)
	fs.StringVar(&f.Target, "target", "", "Set the target build stage to build")
	fs.StringVar(&f.Platform, "platform", "", "Set target platform for build; must be this machine's")
	fs.StringVar(&f.Network, "network", "default", "Set the networking mode for the RUN instructions during build")
	fs.StringVar(&f.Progress, "progress", "auto", `Set type of progress output ("auto", "plain", "tty", "quiet", "rawjson")`)
	fs.StringVar(&f.IIDFile, "iidfile", "", "Write the image ID to a file")
	fs.VarP(size{&f.Memory}, "memory", "m", "Memory limit of each RUN instruction")
	fs.Var(size{&f.MemorySwap}, "memory-swap", `Memory and swap of each RUN instruction together; "-1" for unlimited swap`)
	fs.Int64VarP(&f.CPUShares, "cpu-shares", "c", 0, "CPU shares (relative weight)")
	fs.Int64Var(&f.CPUPeriod, "cpu-period", 0, "Limit the CPU CFS (Completely Fair Scheduler) period")
	fs.Int64Var(&f.CPUQuota, "cpu-quota", 0, "Limit the CPU CFS (Completely Fair Scheduler) quota")
	fs.StringVar(&f.CPUSet, "cpuset-cpus", "", `CPUs in which to allow execution ("0-3", "0,1")`)
	fs.Var(size{&f.ShmSize}, "shm-size", `Size of "/dev/shm"`)
	for _, l := range []struct {
		name, short, usage string
		to                 *[]string
	}{
		{"tag", "t", `Name and optionally a tag in the "name:tag" format`, &f.Tags},
		{"build-arg", "", "Set build-time variables", &f.BuildArgs},
		{"label", "", "Set metadata for an image", &f.Labels},
		{"secret", "", `Secret to expose to the build (format: "id=mysecret[,src=/local/secret]")`, &f.Secrets},
		{"ssh", "", `SSH agent socket to expose to the build (format: "default|<id>[=<socket>]")`, &f.SSH},
		{"cache-from", "", `External cache sources (e.g., "user/app:cache", "type=local,src=path/to/dir")`, &f.CacheFrom},
		{"cache-to", "", `Cache export destinations (e.g., "user/app:cache", "type=local,dest=path/to/dir")`, &f.CacheTo},
		{"no-cache-filter", "", "Do not cache specified stages", &f.NoCacheFilters},
		{"add-host", "", `Add a custom host-to-IP mapping (format: "host:ip")`, &f.Hosts},
		{"build-context", "", `Additional build contexts (e.g., "name=path", "name=docker-image://image", "name=oci-layout://directory", a URL)`, &f.Contexts},
		{"output", "o", `Output destination (format: "type=local,dest=path")`, &f.Outputs},
		{"allow", "", `Allow extra privileged entitlement (e.g., "network.host")`, &f.Allow},
	} {
		fs.VarP(list{to: l.to}, l.name, l.short, l.usage)
	}
	fs.Var(list{&f.Ulimits, "ulimit"}, "ulimit", "Ulimit options")
	fs.StringVar(&f.Metadata, "metadata-file", "", "Write build result metadata to a file")
	fs.BoolVar(&f.Push, "push", false, `Shorthand for "--output=type=registry"`)
	fs.BoolVar(&f.NoCache, "no-cache", false, "Do not use cache when building the image")
	fs.BoolVar(&f.Pull, "pull", false, "Always attempt to pull all referenced images")
	fs.BoolVarP(&f.Quiet, "quiet", "q", false, "Suppress the build output and print image ID on success")
	refuse(fs)
	return f
}

// Args writes the flags of fs that were given as arguments again.
func Args(fs *pflag.FlagSet) []string {
	var args []string
	fs.Visit(func(f *pflag.Flag) {
		switch v := f.Value.(type) {
		case list:
			for _, s := range *v.to {
				args = append(args, "--"+f.Name+"="+s)
			}
		case refused:
			// it asked for what is done anyway
		default:
			args = append(args, "--"+f.Name+"="+f.Value.String())
		}
	})
	return args
}

// refused is a flag of Docker's that is not there.
type refused struct {
	name, short, reason string
	isBool              bool
	harmless            []string // values that ask for what is done anyway
}

const (
	noBuilders = "is not supported: builds are done by this program itself"
	noAttests  = "is not supported: images have no attestations"
	notYet     = "is not supported"
)

var refusals = []refused{
	{name: "annotation", reason: notYet},
	{name: "attest", reason: noAttests},
	{name: "builder", reason: noBuilders, harmless: []string{"default"}},
	{name: "call", reason: notYet, harmless: []string{"build"}},
	{name: "cgroup-parent", reason: "is not supported: steps run in cleat-build.slice"},
	{name: "check", reason: notYet, isBool: true, harmless: []string{"false"}},
	{name: "compress", reason: "is not supported: the context is read where it is", isBool: true, harmless: []string{"false"}},
	{name: "cpuset-mems", reason: notYet},
	{name: "debug", short: "D", reason: notYet, isBool: true, harmless: []string{"false"}},
	{name: "disable-content-trust", reason: "can only be true: there is no content trust", isBool: true, harmless: []string{"true"}},
	{name: "force-rm", reason: "can only be true: nothing of a failed step stays", isBool: true, harmless: []string{"true"}},
	{name: "isolation", reason: "is for Windows containers only", harmless: []string{"default"}},
	{name: "load", reason: "can only be true: images are built where they are run", isBool: true, harmless: []string{"true"}},
	{name: "policy", reason: notYet},
	{name: "provenance", reason: noAttests, harmless: []string{"false"}},
	{name: "rm", reason: "can only be true: nothing of a step stays but its layer", isBool: true, harmless: []string{"true"}},
	{name: "sbom", reason: noAttests, harmless: []string{"false"}},
	{name: "security-opt", reason: "is not supported: steps run in the sandbox of an ordinary container"},
	{name: "squash", reason: notYet, isBool: true, harmless: []string{"false"}},
	{name: "stream", reason: notYet, isBool: true, harmless: []string{"false"}},
}

func refuse(fs *pflag.FlagSet) {
	for _, r := range refusals {
		flag := fs.VarPF(r, r.name, r.short, "")
		flag.Hidden = true
		if r.isBool {
			flag.NoOptDefVal = "true"
		}
	}
}

// Set implements pflag.Value.
func (r refused) Set(s string) error {
	for _, ok := range r.harmless {
		if strings.EqualFold(s, ok) {
			return nil
		}
	}
	return fmt.Errorf("--%s %s", r.name, r.reason)
}

// String implements pflag.Value.
func (refused) String() string { return "" }

// Type implements pflag.Value.
func (refused) Type() string { return "" }
