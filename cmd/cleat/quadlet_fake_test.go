package main

import (
	"context"

	"github.com/cleat-project/cleat/engine"
)

func (r *recorder) Provide(_ context.Context, opt engine.CreateOptions) (engine.Container, error) {
	return engine.Container{}, r.call(opt.Container.Name, "provide", opt)
}

func (r *recorder) SweepDescribed(context.Context) ([]string, error) {
	return []string{"container web"}, r.call("", "sweep")
}
