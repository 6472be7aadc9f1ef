package opts

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// SecretParser returns the parser of --secret, in Podman's form: SOURCE or
// source=SOURCE, and after that target=, uid=, gid= and mode=. A source with a slash
// is a file, below dir if it is relative; without, it is the name of a credential.
func SecretParser(dir string) func(string) (spec.Secret, error) {
	return func(value string) (spec.Secret, error) {
		var s spec.Secret
		for i, field := range strings.Split(value, ",") {
			key, v, ok := strings.Cut(field, "=")
			if i == 0 && !ok {
				key, v, ok = "source", field, true
			}
			if !ok {
				return s, fmt.Errorf("%q is not of the form NAME=VALUE", field)
			}
			if err := secretField(&s, strings.ToLower(key), v); err != nil {
				return s, err
			}
		}
		return settleSecret(s, dir)
	}
}

func secretField(s *spec.Secret, key, v string) (err error) {
	switch key {
	case "source", "src", "id":
		s.Source = v
	case "target", "dst", "destination":
		s.Target = v
	case "uid":
		s.UID, err = owner(key, v)
	case "gid":
		s.GID, err = owner(key, v)
	case "mode":
		n, err := strconv.ParseUint(v, 8, 32)
		if err != nil || n == 0 || n > 0o777 {
			return fmt.Errorf("mode %q is not an octal number from 1 to 777", v)
		}
		s.Mode = uint32(n)
	case "type":
		if v != "mount" {
			return fmt.Errorf("type=%s is not supported: a secret is a file in %s, since others can read variables", v, spec.SecretsDir)
		}
	default:
		return fmt.Errorf("unknown field %q: the fields are source, target, uid, gid and mode", key)
	}
	return err
}

// owner reads a number of a user or group. The last one stands for none.
func owner(key, v string) (uint32, error) {
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil || n == 1<<32-1 {
		return 0, fmt.Errorf("%s %q is not the number of a user or group", key, v)
	}
	return uint32(n), nil
}

// settleSecret fills in what follows from the rest.
func settleSecret(s spec.Secret, dir string) (spec.Secret, error) {
	if s.Source == "" {
		return s, errors.New("no source is given")
	}
	if strings.Contains(s.Source, "/") {
		if !filepath.IsAbs(s.Source) {
			s.Source = filepath.Join(dir, s.Source)
		}
		s.Source = filepath.Clean(s.Source)
	}
	if s.Target == "" {
		s.Target = filepath.Base(s.Source)
	}
	s.Target = strings.TrimPrefix(s.Target, spec.SecretsDir+"/")
	if strings.Contains(s.Target, "/") {
		return s, fmt.Errorf("target %q: secrets are files in %s: give the name of one", s.Target, spec.SecretsDir)
	}
	return s, nil
}
