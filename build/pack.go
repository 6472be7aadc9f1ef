package build

import (
	"context"
	"io"

	"github.com/cleat-project/cleat/engine"
)

// PackedDockerfile is the name of the Dockerfile in what Pack writes.
const PackedDockerfile = ".cleat-dockerfile"

// Pack writes a context as a tar, for a build on another machine: what .dockerignore
// leaves of it, and the Dockerfile, wherever that was. No step sees the latter.
func Pack(ctx context.Context, w io.Writer, c *Context, dockerfile []byte) error {
	f, err := c.open("build context")
	if err != nil {
		return err
	}
	defer f.close()
	all, err := f.pick(selection{pattern: "/"})
	if err != nil {
		return err
	}
	items := []item{
		packed(PackedDockerfile, dockerfile),
		packed(PackedDockerfile+".dockerignore", []byte(PackedDockerfile+"*\n")),
	}
	for _, it := range all {
		if it.dst != "" { // where the context lies is no part of it
			items = append(items, it)
		}
	}
	return f.pack(ctx, w, items, packing{})
}

func packed(name string, data []byte) item {
	return item{dst: name, src: name, data: append([]byte{}, data...), entry: engine.BuildEntry{Mode: 0o644, Size: int64(len(data))}}
}
