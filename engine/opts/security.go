package opts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// Security reads the values of --security-opt. ReadFile fetches the text of a
// seccomp profile.
func Security(values []string, readFile func(string) ([]byte, error)) (spec.Security, error) {
	var s spec.Security
	for _, v := range values {
		if err := securityOption(&s, v, readFile); err != nil {
			return spec.Security{}, err
		}
	}
	return s, nil
}

func securityOption(s *spec.Security, opt string, readFile func(string) ([]byte, error)) (err error) {
	key, value, ok := strings.Cut(opt, "=")
	if !ok && key != "no-new-privileges" {
		// Docker took a colon before it took an equals sign, and still does.
		if key, value, ok = strings.Cut(opt, ":"); !ok {
			return fmt.Errorf("invalid --security-opt: %q", opt)
		}
	}
	switch key {
	case "no-new-privileges":
		s.NoNewPrivileges = true
		if ok {
			if s.NoNewPrivileges, err = strconv.ParseBool(value); err != nil {
				return fmt.Errorf("invalid --security-opt: %q: the value is true or false", opt)
			}
		}
	case "seccomp":
		s.Seccomp, err = seccomp(value, readFile)
		return err
	case "apparmor":
		s.AppArmor = value
	case "systempaths":
		if value != "unconfined" {
			return fmt.Errorf(`invalid --security-opt: %q: only "systempaths=unconfined" is known`, opt)
		}
		s.Unmask = true
	case "label":
		if value != "disable" {
			return fmt.Errorf(`--security-opt %s: SELinux labels are not supported; "label=disable" is accepted`, opt)
		}
	default:
		return fmt.Errorf("invalid --security-opt: %q", opt)
	}
	return nil
}

// seccomp returns the profile's text without needless space.
func seccomp(value string, readFile func(string) ([]byte, error)) (string, error) {
	switch value {
	case "unconfined":
		return value, nil
	case "builtin":
		return "", nil
	case "":
		return "", fmt.Errorf("invalid --security-opt: %q: it needs a file or \"unconfined\"", "seccomp=")
	}
	text, err := readFile(value)
	if err != nil {
		return "", fmt.Errorf("opening seccomp profile (%s) failed: %w", value, err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		return "", fmt.Errorf("compacting json for seccomp profile (%s) failed: %w", value, err)
	}
	return out.String(), nil
}

// Capability parses one value of --cap-add or --cap-drop: the name in upper
// case without its prefix.
func Capability(s string) (string, error) {
	name := strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(s)), "CAP_")
	if name == "" {
		return "", fmt.Errorf("invalid capability: %q", s)
	}
	return name, nil
}
