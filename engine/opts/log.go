package opts

import (
	"fmt"
	"slices"
	"strings"
)

// LogOptions are what --log-driver and --log-opt say together.
type LogOptions struct {
	Driver string   // "journald", "none", or "" for the default
	Tag    string   // template
	Labels []string // names of labels that become journal fields
	Env    []string // names of variables that become journal fields
}

// Log reads the driver's name and its options.
func Log(driver string, options map[string]string) (LogOptions, error) {
	l := LogOptions{Driver: driver}
	switch driver {
	case "", "journald":
	case "none":
		if len(options) > 0 {
			return LogOptions{}, fmt.Errorf("invalid logging opts for driver none")
		}
	default:
		return LogOptions{}, fmt.Errorf(`logging driver "%s" is not supported: output goes to the journal ("journald") or nowhere ("none")`, driver)
	}
	keys := make([]string, 0, len(options))
	for key := range options {
		keys = append(keys, key)
	}
	slices.Sort(keys) // so that of several mistakes the same one is named each time
	for _, key := range keys {
		switch key {
		case "tag":
			l.Tag = options[key]
		case "labels":
			l.Labels = names(options[key])
		case "env":
			l.Env = names(options[key])
		default:
			return LogOptions{}, fmt.Errorf("unknown log opt '%s' for journald log driver: tag, labels and env are supported", key)
		}
	}
	return l, nil
}

// names splits a comma separated list and drops empty entries.
func names(s string) []string {
	var out []string
	for name := range strings.SplitSeq(s, ",") {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	return out
}
