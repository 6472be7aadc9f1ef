package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/build"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/internal/buildflags"
)

// output says where the result goes, see --output.
type output struct {
	kind string // "image", "local", "tar", "docker" or "oci"
	dest string // a directory for local, else a file; "-" is stdout
	name string // one more for the image
	push bool   // to the registries of its names
}

// outputOf reads --output.
func outputOf(f *buildflags.Flags) (output, error) {
	o := output{kind: "image", push: f.Push}
	switch len(f.Outputs) {
	case 0:
		return o, nil
	case 1:
	default:
		return o, errors.New("--output: more than one is not supported")
	}
	value := f.Outputs[0]
	switch {
	case value == "-":
		return output{kind: "tar", dest: "-"}, nil
	case !strings.Contains(value, "="):
		return output{kind: "local", dest: value}, nil
	}
	for _, field := range strings.Split(value, ",") {
		k, v, _ := strings.Cut(field, "=")
		switch strings.ToLower(k) {
		case "type":
			o.kind = v
		case "dest":
			o.dest = v
		case "name":
			o.name = v
		case "push":
			push, err := strconv.ParseBool(v)
			if err != nil {
				return o, fmt.Errorf("--output %q: push wants true or false", value)
			}
			o.push = push
		default:
			return o, fmt.Errorf("--output %q: %s is not supported: want type=, dest=, name= and push=", value, k)
		}
	}
	if o.kind == "registry" {
		o.kind, o.push = "image", true
	}
	return o, o.check(value)
}

func (o output) check(value string) error {
	switch o.kind {
	case "image":
		if o.dest != "" {
			return fmt.Errorf("--output %q: dest is for other types: name the image with --tag", value)
		}
	case "docker":
	case "local", "tar", "oci":
		if o.dest == "" {
			return fmt.Errorf("--output %q: dest is missing", value)
		}
	default:
		return fmt.Errorf("--output %q: type %s is not supported: want image, registry, local, tar, docker or oci", value, o.kind)
	}
	if o.push && o.kind != "image" {
		return fmt.Errorf("--output %q: only an image is pushed", value)
	}
	if o.kind == "local" && o.dest == "-" {
		return fmt.Errorf("--output %q: dest must be a directory", value)
	}
	return nil
}

// export returns what takes the files instead of the image store, nil for an image.
func (o output) export(std stdio) func(context.Context, build.Result) error {
	switch o.kind {
	case "local":
		return func(ctx context.Context, r build.Result) error {
			if err := os.MkdirAll(o.dest, 0o777); err != nil {
				return err
			}
			return r.Tree.CopyOut(ctx, o.dest)
		}
	case "tar":
		return func(ctx context.Context, r build.Result) error {
			return o.write(std, func(w io.Writer) error { return r.Tree.Pack(ctx, w) })
		}
	}
	return nil
}

// write opens what the result goes to.
func (o output) write(std stdio, write func(io.Writer) error) error {
	if o.dest == "-" || o.dest == "" {
		return write(std.out)
	}
	f, err := os.OpenFile(o.dest, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// save writes an image as an archive, if that is asked for.
func (o output) save(ctx context.Context, eng *engine.Engine, name string, std stdio) error {
	format := map[string]string{"docker": "docker-archive", "oci": "oci-archive"}[o.kind]
	if format == "" || o.kind == "docker" && o.dest == "" { // the local store is where docker's goes
		return nil
	}
	return o.write(std, func(w io.Writer) error { return eng.Save(ctx, w, []string{name}, engine.SaveOptions{Format: format}) })
}
