// Package contexts keeps the machines that a user works with by name, as "cleat
// context" makes them. They are the user's own, in one file that is replaced whole.
package contexts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// Default is the context that is always there: this machine.
const Default = "default"

// Context is a machine with a name.
type Context struct {
	Name        string
	Description string `json:",omitempty"`
	Host        string // see ParseHost; "" is this machine
}

// Store is the file of a user's contexts. It is safe for use by several processes.
type Store struct{ Path string }

// content is what the file has.
type content struct {
	Current  string `json:",omitempty"` // "" means Default
	Contexts []Context
}

// load reads the file; none is one without contexts.
func (s Store) load() (content, error) {
	var c content
	if s.Path == "" {
		return c, nil
	}
	err := fsx.ReadJSON(s.Path, &c)
	if errors.Is(err, spec.ErrNotFound) {
		return content{}, nil
	}
	if err != nil {
		return c, fmt.Errorf("read contexts: %w", err)
	}
	return c, nil
}

// change replaces the file by what do makes of it.
func (s Store) change(ctx context.Context, do func(*content) error) error {
	if s.Path == "" {
		return fmt.Errorf("no home directory to keep contexts in: set XDG_CONFIG_HOME: %w", spec.ErrUnavail)
	}
	if err := os.MkdirAll(filepath.Dir(s.Path), 0o700); err != nil {
		return fmt.Errorf("write contexts: %w", err)
	}
	lock, err := fsx.Acquire(ctx, s.Path+".lock")
	if err != nil {
		return fmt.Errorf("write contexts: %w", err)
	}
	defer lock.Release()
	c, err := s.load()
	if err != nil {
		return err
	}
	if err := do(&c); err != nil {
		return err
	}
	slices.SortFunc(c.Contexts, func(a, b Context) int { return strings.Compare(a.Name, b.Name) })
	data, err := json.MarshalIndent(c, "", "\t")
	if err != nil {
		return fmt.Errorf("encode contexts: %w", err)
	}
	if err := fsx.WriteFile(s.Path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write contexts: %w", err)
	}
	return nil
}

func (c *content) find(name string) (int, error) {
	i := slices.IndexFunc(c.Contexts, func(x Context) bool { return x.Name == name })
	if i < 0 {
		return i, fmt.Errorf("context %q: not found: %w", name, spec.ErrNotFound)
	}
	return i, nil
}

// List returns all contexts, Default first, and the name of the current one.
func (s Store) List() (list []Context, current string, err error) {
	c, err := s.load()
	if err != nil {
		return nil, "", err
	}
	if current = c.Current; current == "" {
		current = Default
	}
	return append([]Context{{Name: Default, Description: "This machine"}}, c.Contexts...), current, nil
}

// Get returns a context.
func (s Store) Get(name string) (Context, error) {
	list, _, err := s.List()
	if err != nil {
		return Context{}, err
	}
	for _, c := range list {
		if c.Name == name {
			return c, nil
		}
	}
	return Context{}, fmt.Errorf("context %q: not found: %w", name, spec.ErrNotFound)
}

// Create adds a context.
func (s Store) Create(ctx context.Context, c Context) error {
	if err := checkName(c.Name); err != nil {
		return err
	}
	if _, err := ParseHost(c.Host); err != nil {
		return err
	}
	return s.change(ctx, func(all *content) error {
		if _, err := all.find(c.Name); err == nil {
			return fmt.Errorf("context %q already exists: %w", c.Name, spec.ErrExists)
		}
		all.Contexts = append(all.Contexts, c)
		return nil
	})
}

// Update changes a context by means of edit.
func (s Store) Update(ctx context.Context, name string, edit func(*Context)) error {
	if name == Default {
		return fmt.Errorf("context %q is always this machine: %w", name, spec.ErrInvalid)
	}
	return s.change(ctx, func(all *content) error {
		i, err := all.find(name)
		if err != nil {
			return err
		}
		edit(&all.Contexts[i])
		_, err = ParseHost(all.Contexts[i].Host)
		return err
	})
}

// Use makes a context the current one.
func (s Store) Use(ctx context.Context, name string) error {
	return s.change(ctx, func(all *content) error {
		if all.Current = ""; name == Default {
			return nil
		}
		_, err := all.find(name)
		all.Current = name
		return err
	})
}

// Remove removes a context. The current one has to be forced; then Default is.
func (s Store) Remove(ctx context.Context, name string, force bool) error {
	if name == Default {
		return fmt.Errorf("context %q cannot be removed: it is this machine: %w", name, spec.ErrInvalid)
	}
	return s.change(ctx, func(all *content) error {
		i, err := all.find(name)
		if err != nil {
			return err
		}
		if all.Current == name {
			if !force {
				return fmt.Errorf("context %q is in use, set -f flag to force remove: %w", name, spec.ErrConflict)
			}
			all.Current = ""
		}
		all.Contexts = slices.Delete(all.Contexts, i, i+1)
		return nil
	})
}

// checkName admits the names that Docker admits.
func checkName(name string) error {
	ok := name != ""
	for i, r := range name {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || i > 0 && strings.ContainsRune("_.+-", r))
	}
	switch {
	case !ok:
		return fmt.Errorf("context name %q is invalid: it has letters, digits and _ . + - and begins with a letter or digit: %w", name, spec.ErrInvalid)
	case name == Default:
		return fmt.Errorf("context name %q is that of this machine: %w", name, spec.ErrInvalid)
	}
	return nil
}
