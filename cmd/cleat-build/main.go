// Command cleat-build makes images of Dockerfiles: "cleat build" becomes it. It is a
// program of its own because the parser of Dockerfiles would make every other verb
// of cleat slower to start.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/build"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/internal/buildflags"
	"github.com/cleat-project/cleat/internal/interrupt"
)

// version is set by the linker.
var version = "unknown"

func main() {
	syscall.Umask(0o022)
	os.Exit(run(os.Args[1:]))
}

// run is main with its exit status.
func run(args []string) int {
	ctx, release := interrupt.Context(context.Background())
	defer release()
	err := command(ctx, args, stdio{os.Stdin, os.Stdout, os.Stderr})
	var sig interrupt.Error
	switch {
	case err == nil:
		return 0
	case errors.As(context.Cause(ctx), &sig):
		fmt.Fprintln(os.Stderr, "ERROR: "+sig.Error())
		return 128 + int(sig.Signal)
	case errors.Is(err, errTold):
		return 1
	}
	report(os.Stderr, err)
	return 1
}

// report prints an error, with the place in the Dockerfile that it is about.
func report(w io.Writer, err error) {
	var at *build.SourceError
	if errors.As(err, &at) {
		fmt.Fprintf(w, "%s:%d\n--------------------\n%s--------------------\n", at.File, at.Line, at.Excerpt)
	}
	fmt.Fprintf(w, "ERROR: %v\n", err)
}

// stdio are the streams of the program.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// command carries out a command line.
func command(ctx context.Context, args []string, std stdio) error {
	fs := pflag.NewFlagSet("cleat build", pflag.ContinueOnError)
	fs.SetOutput(std.err)
	root := fs.String("root", "", "Directory of images, containers and volumes")
	runRoot := fs.String("runroot", "", "Directory of sockets and locks")
	f := buildflags.Define(fs)
	forAPI := fs.Bool("api", false, "Answer a request of the Docker Engine API")
	pack := fs.Bool("pack", false, "Write the context as a tar, for a build on another machine")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() != 1 {
		return errors.New("\"cleat build\" requires 1 argument: the directory or the URL of the build context, or -")
	}
	place := engine.Options{
		Root: *root, RunRoot: *runRoot, Config: os.Getenv("CLEAT_CONFIG"), Version: version,
		Warn: func(s string) { fmt.Fprintf(std.err, "WARNING: %s\n", s) },
	}
	if *forAPI {
		return answer(ctx, f, fs.Arg(0), place, std)
	}
	opt, err := options(f, fs.Arg(0), std)
	if err != nil {
		return err
	}
	if *pack {
		return build.Pack(ctx, std.out, opt.Context, opt.Dockerfile)
	}
	out, err := outputOf(f)
	if err != nil {
		return err
	}
	show, err := newShower(f, std.err)
	if err != nil {
		return err
	}
	place.Warn = func(s string) { show.event(build.Event{Phase: build.Warning, Text: s}) }
	eng, err := engine.Open(place)
	if err != nil {
		show.close(nil)
		return err
	}
	defer eng.Close()
	if opt.Export, opt.Push = out.export(std), out.push; out.name != "" {
		opt.Names = append(opt.Names, out.name)
	}
	opt.Progress = show.event
	res, err := build.Build(ctx, eng, opt)
	show.close(err)
	if err != nil {
		return err
	}
	return finish(ctx, eng, f, out, res, std)
}

// finish does what is left when the image is there.
func finish(ctx context.Context, eng *engine.Engine, f *buildflags.Flags, out output, res build.Result, std stdio) error {
	if res.Image.ID == "" {
		return nil
	}
	id := string(res.Image.ID)
	if err := out.save(ctx, eng, append(f.Tags[:len(f.Tags):len(f.Tags)], id)[0], std); err != nil {
		return err
	}
	if f.Metadata != "" {
		if err := writeMetadata(f.Metadata, f.Tags, res); err != nil {
			return err
		}
	}
	if f.IIDFile != "" {
		if err := os.WriteFile(f.IIDFile, []byte(id), 0o666); err != nil {
			return fmt.Errorf("write image id: %w", err)
		}
	}
	if f.Quiet || f.Progress == "quiet" {
		fmt.Fprintln(std.out, id)
	}
	return nil
}

// writeMetadata writes what there is to know of an image, in the words of buildx.
func writeMetadata(file string, names []string, res build.Result) error {
	meta := map[string]string{
		"containerimage.config.digest": string(res.Image.ID),
		"containerimage.digest":        string(res.Image.ManifestDigest),
	}
	if len(names) > 0 {
		meta["image.name"] = strings.Join(names, ",")
	}
	data, err := json.MarshalIndent(meta, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, data, 0o666); err != nil {
		return fmt.Errorf("write metadata: %w", err)
	}
	return nil
}
