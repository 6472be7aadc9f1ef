package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/term"
	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/compose"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/internal/interrupt"
	"github.com/cleat-project/cleat/spec"
)

// cli is what all commands share.
type cli struct {
	in  io.Reader
	out io.Writer
	err io.Writer

	root, runRoot string
	load          compose.LoadOptions // -f, -p and their kin
	parallel      int
	ansi          string
	dryRun        bool

	releaseSignals func()
	eng            *engine.Engine
}

const defaultRoot = "/var/lib/cleat"

// placeKey annotates a command that needs neither root nor systemd.
const placeKey = "anywhere"

func newRoot(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use: "compose [OPTIONS] COMMAND", Short: "Define and run multi-container applications",
		SilenceErrors: true, SilenceUsage: true, TraverseChildren: true,
		Annotations:       map[string]string{placeKey: "", cobra.CommandDisplayNameAnnotation: "cleat compose"},
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		RunE:              bare,
	}
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := c.settle(); err != nil {
			return err
		}
		if _, anywhere := cmd.Annotations[placeKey]; anywhere {
			return nil
		}
		return c.enter(cmd.Context())
	}
	fs := root.PersistentFlags()
	fs.StringVar(&c.root, "root", defaultRoot, "Directory of images, containers and volumes")
	fs.StringVar(&c.runRoot, "runroot", "", "Directory of sockets and locks")
	fs.Bool("help", false, "Print usage")
	for _, name := range []string{"root", "runroot", "help"} {
		_ = fs.MarkHidden(name) // defined above
	}
	own := root.Flags() // not persistent: "logs -f" is something else
	own.StringArrayVarP(&c.load.Files, "file", "f", nil, "Compose configuration files")
	own.StringVarP(&c.load.Name, "project-name", "p", "", "Project name")
	own.StringVar(&c.load.Dir, "project-directory", "", "Specify an alternate working directory (default: that of the first file)")
	own.StringVar(&c.load.Dir, "workdir", "", "An older name of --project-directory")
	_ = own.MarkHidden("workdir") // defined above
	own.StringArrayVar(&c.load.Profiles, "profile", nil, "Specify a profile to enable")
	own.StringArrayVar(&c.load.EnvFiles, "env-file", nil, "Specify an alternate environment file")
	own.IntVar(&c.parallel, "parallel", 0, "Control max parallelism (default 16)")
	own.StringVar(&c.ansi, "ansi", "auto", `Control when to print ANSI control characters ("never"|"always"|"auto")`)
	own.BoolVar(&c.dryRun, "dry-run", false, "Print what would be done, and do nothing")
	refuse(own, "progress", "is not supported: progress is plain lines", "auto", "plain", "quiet", "tty")
	refuseBool(own, "compatibility", "is not supported: names have dashes")
	refuseBool(own, "all-resources", "is not supported: what no service uses is left alone")
	root.SetFlagErrorFunc(flagError)
	root.SetUsageTemplate(usageText)
	for _, cmd := range append(verbs(c), root) {
		cmd.DisableFlagsInUseLine = true
		if cmd != root {
			root.AddCommand(cmd)
		}
	}
	return root
}

// usageText is the help in Docker's form.
const usageText = `Usage:  {{.UseLine}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}}   {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Options:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
`

// flagError turns an error of the flag parser into a usageError. Of a flag that is
// refused only the reason is said.
func flagError(_ *cobra.Command, err error) error {
	if refused, ok := errors.AsType[refusedError](err); ok {
		return usageError{refused}
	}
	return usageError{err}
}

func bare(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	if why, ok := refusedVerbs[args[0]]; ok {
		return fmt.Errorf("compose %s %s", args[0], why)
	}
	return usageError{fmt.Errorf("'compose %s' is not a cleat command", args[0])}
}

// settle takes what the flags left open from the environment.
func (c *cli) settle() error {
	c.load.Warn = c.warn
	if c.parallel == 0 {
		if text := os.Getenv("COMPOSE_PARALLEL_LIMIT"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil {
				return fmt.Errorf("COMPOSE_PARALLEL_LIMIT %q: must be a number", text)
			}
			c.parallel = n
		}
	}
	switch c.ansi {
	case "auto", "never", "always":
	default:
		return usageError{fmt.Errorf("--ansi %q: must be never, always or auto", c.ansi)}
	}
	return nil
}

func (c *cli) warn(sentence string) { fmt.Fprintf(c.err, "WARNING: %s\n", sentence) }

// colours reports whether to colour what goes to the standard output.
func (c *cli) colours() bool {
	f, ok := c.out.(*os.File)
	return c.ansi == "always" || c.ansi == "auto" && ok && term.IsTerminal(f.Fd()) && os.Getenv("NO_COLOR") == ""
}

// project loads the project, which has to have files.
func (c *cli) project(ctx context.Context) (*compose.Project, error) {
	return compose.Load(ctx, c.load)
}

// named returns the name of the project and, if it has files, the project: many
// verbs need only what the labels of containers say.
func (c *cli) named(ctx context.Context) (string, *compose.Project, error) {
	p, err := c.project(ctx)
	if err == nil {
		return p.Name(), p, nil
	}
	if !errors.Is(err, spec.ErrNotFound) || len(c.load.Files) > 0 {
		return "", nil, err
	}
	if c.load.Name == "" && os.Getenv("COMPOSE_PROJECT_NAME") == "" {
		return "", nil, err
	}
	name, nameErr := compose.FindName(ctx, c.load)
	return name, nil, nameErr
}

// containers returns those of the services, of all services without names.
func (c *cli) containers(ctx context.Context, services []string) (project string, list []engine.Container, err error) {
	name, p, err := c.named(ctx)
	if err != nil {
		return "", nil, err
	}
	eng, err := c.engine()
	if err != nil {
		return "", nil, err
	}
	all, err := compose.Containers(ctx, eng, name)
	if err != nil {
		return "", nil, err
	}
	if p != nil {
		for _, s := range services {
			if p.ImageOf(s) == "" && !hasService(all, s) {
				return "", nil, fmt.Errorf("no such service: %q: %w", s, spec.ErrNotFound)
			}
		}
		services = existing(all, services)
		if len(services) == 0 && len(existing(all, nil)) > 0 {
			return name, nil, nil
		}
	}
	list, err = compose.Pick(all, services)
	return name, list, err
}

// existing keeps the services that have containers. Nil stays nil.
func existing(all []engine.Container, services []string) (out []string) {
	for _, s := range services {
		if hasService(all, s) {
			out = append(out, s)
		}
	}
	return out
}

func hasService(all []engine.Container, service string) bool {
	for _, c := range all {
		if compose.ServiceOf(c) == service {
			return true
		}
	}
	return false
}

// execute runs a plan, or prints it for --dry-run.
func (c *cli) execute(ctx context.Context, plan *compose.Plan) error {
	for _, w := range plan.Warnings {
		c.warn(w)
	}
	if c.dryRun {
		fmt.Fprint(c.out, plan)
		return nil
	}
	if plan.Empty() {
		return nil
	}
	eng, err := c.engine()
	if err != nil {
		return err
	}
	return compose.Runner{Engine: eng, Limit: c.parallel, Tell: c.tell}.Run(ctx, plan)
}

// tell prints what has become of an object, as Docker's plain progress does.
func (c *cli) tell(t compose.Told) {
	if t.Err != nil {
		c.warn(engine.Sentence(t.Err) + ", ignoring")
		return
	}
	fmt.Fprintf(c.err, " %s %s  %s\n", t.Kind, t.Name, t.State)
}

// report prints err and returns the exit code of the program.
func (c *cli) report(cmd *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	_, usage := errors.AsType[usageError](err)
	if refused, ok := errors.AsType[refusedError](err); ok {
		err, usage = refused, true // without pflag's words before it
	}
	ctx := context.Background()
	if cmd != nil && cmd.Context() != nil {
		ctx = cmd.Context()
	}
	sig, interrupted := errors.AsType[interrupt.Error](context.Cause(ctx))
	if !interrupted || !errors.Is(err, context.Canceled) {
		for line := range strings.SplitSeq(engine.Sentence(err), "\n") {
			fmt.Fprintf(c.err, "cleat: %s\n", line)
		}
	}
	if interrupted {
		return 128 + int(sig.Signal)
	}
	if usage {
		fmt.Fprintf(c.err, "\nRun '%s --help' for more information\n", cmd.CommandPath())
		return 125
	}
	if e, ok := errors.AsType[*engine.StartError](err); ok && e.Code != 0 && cmd.Name() == "run" {
		return e.Code
	}
	return 1
}

// become replaces this process by "cleat args": it knows terminals, signals and
// streams.
func (c *cli) become(args ...string) error {
	if c.dryRun {
		fmt.Fprintln(c.out, "cleat "+strings.Join(args, " "))
		return nil
	}
	exe, err := cleatProgram()
	if err != nil {
		return err
	}
	argv := []string{"cleat", "--root", c.root}
	if c.runRoot != "" {
		argv = append(argv, "--runroot", c.runRoot)
	}
	c.close()
	if err := syscall.Exec(exe, append(argv, args...), os.Environ()); err != nil {
		return fmt.Errorf("run %s: %w", exe, err)
	}
	return nil
}

// cleatProgram returns cleat, which is beside this program or, once installed,
// in PREFIX/bin where this is in PREFIX/libexec/cleat.
func cleatProgram() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	dir := filepath.Dir(exe)
	for _, path := range []string{filepath.Join(dir, "cleat"), filepath.Join(dir, "../../bin/cleat")} {
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", fmt.Errorf("the program cleat is not beside %s: install cleat as a whole: %w", exe, spec.ErrNotFound)
}

// anywhere marks a command that needs neither root nor systemd.
func anywhere(cmd *cobra.Command) *cobra.Command {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[placeKey] = ""
	return cmd
}
