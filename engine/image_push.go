package engine

import (
	"context"
	"fmt"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/registry"
	"github.com/cleat-project/cleat/spec"
)

// PushedImage is what the registry has now under one tag.
type PushedImage = registry.Pushed

// PullPhase is the state of a layer that is pulled or pushed.
type PullPhase = image.Phase

// The phases of a layer that is pushed.
const (
	Preparing = image.Preparing
	Pushing   = image.Pushing
	Pushed    = image.Pushed
	AtTarget  = image.AtTarget
	Mounted   = image.Mounted
)

// PushOptions says how to push.
type PushOptions struct {
	AllTags  bool              // every tag that this machine has of the repository
	Progress func(PullEvent)   // called from several goroutines; nil drops it
	Done     func(PushedImage) // called after each tag; nil for none

	Credentials Credentials // for the registry; none: those that a login has stored
}

// Push uploads an image to the registry of its name. With AllTags the name is
// that of a repository. Tags before one that fails stay pushed.
func (e *Engine) Push(ctx context.Context, name string, opt PushOptions) error {
	ref, err := image.ParseReference(name)
	if err != nil {
		return err
	}
	refs := []image.Reference{ref}
	if opt.AllTags {
		if refs, err = e.tagsOf(name, ref); err != nil {
			return err
		}
	}
	client := e.registryFor(opt.Credentials)
	defer client.Close()
	for _, r := range refs {
		done, err := client.Push(ctx, e.images, r, registry.PushOptions{Progress: opt.Progress})
		if err != nil {
			return err
		}
		if img, err := e.images.Get(r.String()); err == nil { // not removed meanwhile
			e.tellImage("push", img, r.Familiar())
		}
		if opt.Done != nil {
			opt.Done(done)
		}
	}
	return nil
}

// tagsOf returns the tags of the repository that was given as name.
func (e *Engine) tagsOf(name string, ref image.Reference) ([]image.Reference, error) {
	if !image.IsRepository(name) {
		return nil, fmt.Errorf("all tags of %q: give the repository without a tag: %w", name, spec.ErrInvalid)
	}
	refs, err := e.images.Tags(ref)
	if err == nil && len(refs) == 0 {
		err = fmt.Errorf("no image here has a tag in the repository %s: %w", ref.FamiliarRepository(), spec.ErrNotFound)
	}
	return refs, err
}
