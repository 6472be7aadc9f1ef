package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/internal/contexts"
)

// defineTarget adds the flags that say on which machine a command runs.
func (c *cli) defineTarget(fs *pflag.FlagSet) {
	fs.StringVarP(&c.hostFlag, "host", "H", "", `Machine to work on, with ssh ("ssh://USER@HOST[:PORT]")`)
	asType(fs.Lookup("host"), "list")
	fs.StringVarP(&c.contextFlag, "context", "c", "", `Name of the context to work in (overrides CLEAT_HOST and the one set with "cleat context use")`)
}

// contexts is where the caller's contexts are kept; nowhere for one without a home
// directory, such as a service.
func (c *cli) contexts() contexts.Store {
	dir, _ := c.lookup("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		home, _ := c.lookup("HOME")
		if !filepath.IsAbs(home) {
			return contexts.Store{}
		}
		dir = filepath.Join(home, ".config")
	}
	return contexts.Store{Path: filepath.Join(dir, "cleat", "contexts.json")}
}

// target finds the machine that a command is for: what the flags say, else the
// environment, else the current context.
func (c *cli) target() (contexts.Host, error) {
	if c.hostFlag != "" && c.contextFlag != "" {
		return contexts.Host{}, fmt.Errorf("conflicting options: cannot specify both --host and --context")
	}
	name := c.contextFlag
	if name == "" {
		env, _ := c.lookup("CLEAT_HOST")
		if host := cmp.Or(c.hostFlag, env); host != "" {
			return c.checkHost(contexts.ParseHost(host))
		}
	}
	name, err := c.currentContext(name)
	if err != nil {
		return contexts.Host{}, err
	}
	if name == contexts.Default {
		return contexts.Host{}, nil
	}
	found, err := c.contexts().Get(name)
	if err != nil {
		return contexts.Host{}, hinted(err, "'cleat context ls' lists them; 'cleat context use default' returns to this machine")
	}
	return c.checkHost(contexts.ParseHost(found.Host))
}

// currentContext returns the name of the context in force, if none is given.
func (c *cli) currentContext(given string) (string, error) {
	env, _ := c.lookup("CLEAT_CONTEXT")
	if name := cmp.Or(given, env); name != "" {
		return name, nil
	}
	_, current, err := c.contexts().List()
	if errors.Is(err, fs.ErrPermission) { // HOME is another user's, as after su
		return contexts.Default, nil
	}
	return current, err
}

// checkHost takes a socket of this machine for what it means.
func (c *cli) checkHost(h contexts.Host, err error) (contexts.Host, error) {
	own := filepath.Join(cmp.Or(c.runRoot, defaultRunRoot), "cleat.sock")
	if err == nil && h.Socket != "" && h.Socket != own {
		return h, hinted(fmt.Errorf("cannot reach %s: cleat works on this machine without a socket, and on others with ssh", h), "give --root and --runroot for another place on this machine")
	}
	return h, err
}
