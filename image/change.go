package image

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cleat-project/cleat/spec"
)

// ApplyChanges carries out Dockerfile instructions on c, as `import -c` and
// `commit -c` take them: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD,
// STOPSIGNAL, USER, VOLUME and WORKDIR. If it fails, c is unchanged. The error
// wraps spec.ErrInvalid.
func ApplyChanges(c *Config, changes []string) error {
	e := &editor{c: c.Clone()}
	for _, change := range changes {
		if err := e.apply(change); err != nil {
			return classify(spec.ErrInvalid, "invalid change %q: %v", clip(change), err)
		}
	}
	*c = e.c
	return nil
}

// Clone returns a copy of c that ApplyChanges can work on without touching c.
func (c Config) Clone() Config {
	c.Env, c.OnBuild = slices.Clone(c.Env), slices.Clone(c.OnBuild)
	c.ExposedPorts, c.Volumes, c.Labels = maps.Clone(c.ExposedPorts), maps.Clone(c.Volumes), maps.Clone(c.Labels)
	return c
}

// editor applies one series of instructions.
type editor struct {
	c      Config
	cmdSet bool // an ENTRYPOINT forgets the CMD of before this series, as in a build
}

func (e *editor) apply(change string) error {
	change = strings.TrimSpace(change)
	if strings.ContainsAny(change, "\x00") {
		return fmt.Errorf("has a NUL byte")
	}
	word, rest := cutSpace(change)
	if rest == "" {
		return fmt.Errorf("want an instruction and its arguments")
	}
	switch strings.ToUpper(word) {
	case "CMD":
		e.c.Cmd, e.cmdSet = e.command(rest), true
	case "ENTRYPOINT":
		if e.c.Entrypoint = e.command(rest); !e.cmdSet {
			e.c.Cmd = nil
		}
	case "ENV":
		return e.env(rest)
	case "EXPOSE":
		return e.expose(rest)
	case "HEALTHCHECK":
		return e.healthcheck(rest)
	case "LABEL":
		return e.label(rest)
	case "ONBUILD":
		return e.onBuild(rest)
	case "STOPSIGNAL":
		return e.stopSignal(rest)
	case "USER":
		return e.one(rest, &e.c.User)
	case "VOLUME":
		return e.volume(rest)
	case "WORKDIR":
		return e.workDir(rest)
	default:
		return fmt.Errorf("%s is not one of CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR", word)
	}
	return nil
}

// cutSpace splits s at its first run of blanks.
func cutSpace(s string) (first, rest string) {
	i := strings.IndexAny(s, " \t\r\n")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimSpace(s[i:])
}

// jsonWords returns the elements if s is a JSON array of strings.
func jsonWords(s string) ([]string, bool) {
	var list []string
	if !strings.HasPrefix(s, "[") || json.Unmarshal([]byte(s), &list) != nil {
		return nil, false
	}
	return list, true
}

// command reads the exec form, a JSON array, or else the shell form.
func (e *editor) command(rest string) []string {
	if list, ok := jsonWords(rest); ok {
		return list
	}
	shell := e.c.Shell
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	return append(slices.Clone(shell), rest)
}

// one expands rest, which has to be one word, into target.
func (e *editor) one(rest string, target *string) error {
	words, err := e.words(rest)
	if err != nil {
		return err
	}
	if len(words) != 1 || words[0] == "" {
		return fmt.Errorf("want exactly one argument")
	}
	*target = words[0]
	return nil
}

// words splits rest and expands variables and quotes in each word.
func (e *editor) words(rest string) ([]string, error) {
	raw, err := splitWords(rest)
	if err != nil {
		return nil, err
	}
	words := make([]string, 0, len(raw))
	for _, w := range raw {
		w, err := expandWord(w, e.lookup)
		if err != nil {
			return nil, err
		}
		words = append(words, w)
	}
	return words, nil
}

func (e *editor) lookup(name string) (string, bool) {
	for _, kv := range e.c.Env {
		if k, v, _ := strings.Cut(kv, "="); k == name {
			return v, true
		}
	}
	return "", false
}

// pairs reads "k=v k=v …" or, if the first word has no "=", the old "k v".
func (e *editor) pairs(rest string) ([][2]string, error) {
	first, value := cutSpace(rest)
	if !strings.Contains(first, "=") {
		if value == "" {
			return nil, fmt.Errorf("want name=value")
		}
		p, err := e.pair(first, value)
		return [][2]string{p}, err
	}
	raw, err := splitWords(rest)
	if err != nil {
		return nil, err
	}
	var pairs [][2]string
	for _, w := range raw {
		k, v, ok := strings.Cut(w, "=")
		if !ok {
			return nil, fmt.Errorf("%q: want name=value", clip(w))
		}
		p, err := e.pair(k, v)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// pair expands a name and its value.
func (e *editor) pair(key, value string) (p [2]string, err error) {
	if p[0], err = expandWord(key, e.lookup); err != nil {
		return p, err
	}
	if p[1], err = expandWord(value, e.lookup); err != nil {
		return p, err
	}
	if p[0] == "" {
		return p, fmt.Errorf("a name is empty")
	}
	return p, nil
}

func (e *editor) env(rest string) error {
	pairs, err := e.pairs(rest)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		if strings.Contains(p[0], "=") {
			return fmt.Errorf("name %q has an equals sign", clip(p[0]))
		}
		entry := p[0] + "=" + p[1]
		i := slices.IndexFunc(e.c.Env, func(kv string) bool { return strings.HasPrefix(kv, p[0]+"=") })
		if i < 0 {
			e.c.Env = append(e.c.Env, entry)
		} else {
			e.c.Env[i] = entry
		}
	}
	return nil
}

func (e *editor) label(rest string) error {
	pairs, err := e.pairs(rest)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		if e.c.Labels == nil {
			e.c.Labels = map[string]string{}
		}
		e.c.Labels[p[0]] = p[1]
	}
	return nil
}

func (e *editor) expose(rest string) error {
	words, err := e.words(rest)
	if err != nil {
		return err
	}
	for _, w := range words {
		ports, proto, _ := strings.Cut(w, "/")
		if proto = strings.ToLower(proto); proto == "" {
			proto = "tcp"
		}
		if proto != "tcp" && proto != "udp" && proto != "sctp" {
			return fmt.Errorf("port %q: protocol is not tcp, udp or sctp", clip(w))
		}
		first, last, err := portRange(ports)
		if err != nil {
			return err
		}
		for port := first; port <= last; port++ {
			if e.c.ExposedPorts == nil {
				e.c.ExposedPorts = map[string]struct{}{}
			}
			e.c.ExposedPorts[fmt.Sprintf("%d/%s", port, proto)] = struct{}{}
		}
	}
	return nil
}

func portRange(s string) (first, last int, err error) {
	low, high, isRange := strings.Cut(s, "-")
	if !isRange {
		high = low
	}
	a, errA := strconv.ParseUint(low, 10, 16)
	b, errB := strconv.ParseUint(high, 10, 16)
	if errA != nil || errB != nil || a == 0 || b < a {
		return 0, 0, fmt.Errorf("port %q: want a number from 1 to 65535 or a range of them", clip(s))
	}
	return int(a), int(b), nil
}

func (e *editor) volume(rest string) error {
	list, ok := jsonWords(rest)
	if !ok {
		var err error
		if list, err = e.words(rest); err != nil {
			return err
		}
	}
	for _, v := range list {
		if strings.TrimSpace(v) == "" {
			return fmt.Errorf("a path is empty")
		}
		if e.c.Volumes == nil {
			e.c.Volumes = map[string]struct{}{}
		}
		e.c.Volumes[v] = struct{}{}
	}
	return nil
}

func (e *editor) workDir(rest string) error {
	dir, err := expandWord(rest, e.lookup)
	if err != nil {
		return err
	}
	if dir == "" {
		return fmt.Errorf("the path is empty")
	}
	if !path.IsAbs(dir) {
		dir = path.Join("/", e.c.WorkingDir, dir)
	}
	e.c.WorkingDir = path.Clean(dir)
	return nil
}

func (e *editor) stopSignal(rest string) error {
	var s string
	if err := e.one(rest, &s); err != nil {
		return err
	}
	n, err := strconv.Atoi(s)
	isNumber := err == nil && n >= 1 && n <= 64
	name := strings.ToUpper(s)
	isName := err != nil && name[0] >= 'A' && name[0] <= 'Z' && allIn(name, upper+digits+"+-")
	if !isNumber && !isName {
		return fmt.Errorf("signal %q: want a name such as SIGTERM or a number from 1 to 64", clip(s))
	}
	e.c.StopSignal = s
	return nil
}

func (e *editor) onBuild(rest string) error {
	word, args := cutSpace(rest)
	switch word = strings.ToUpper(word); {
	case word == "ONBUILD", word == "FROM", word == "MAINTAINER":
		return fmt.Errorf("%s is not allowed as a trigger", word)
	case args == "" || !allIn(word, upper):
		return fmt.Errorf("want an instruction and its arguments")
	}
	e.c.OnBuild = append(e.c.OnBuild, rest)
	return nil
}

func (e *editor) healthcheck(rest string) error {
	var h Healthcheck
	for strings.HasPrefix(rest, "--") {
		var flag string
		flag, rest = cutSpace(rest)
		if err := h.option(flag); err != nil {
			return err
		}
	}
	word, args := cutSpace(rest)
	switch strings.ToUpper(word) {
	case "NONE":
		if args != "" || h.Retries != 0 || h.Interval|h.Timeout|h.StartPeriod|h.StartInterval != 0 {
			return fmt.Errorf("NONE takes no arguments")
		}
		h.Test = []string{"NONE"}
	case "CMD":
		list, isExec := jsonWords(args)
		switch {
		case args == "" || isExec && len(list) == 0:
			return fmt.Errorf("CMD without a command")
		case isExec:
			h.Test = append([]string{"CMD"}, list...)
		default:
			h.Test = []string{"CMD-SHELL", args}
		}
	default:
		return fmt.Errorf("want CMD or NONE, not %q", clip(word))
	}
	e.c.Healthcheck = &h
	return nil
}

// option reads one flag of HEALTHCHECK.
func (h *Healthcheck) option(flag string) error {
	name, value, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
	if name == "retries" {
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil || n < 0 {
			return fmt.Errorf("--retries %q: want a number", clip(value))
		}
		h.Retries = int(n)
		return nil
	}
	target := map[string]*time.Duration{
		"interval": &h.Interval, "timeout": &h.Timeout, "start-period": &h.StartPeriod, "start-interval": &h.StartInterval,
	}[name]
	if target == nil {
		return fmt.Errorf("unknown flag --%s", clip(name))
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 || d > 0 && d < time.Millisecond {
		return fmt.Errorf("--%s %q: want a duration of at least 1ms", name, clip(value))
	}
	*target = d
	return nil
}
