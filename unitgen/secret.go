package unitgen

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// credentialsSystemd is the first version with LoadCredential=.
const credentialsSystemd = 247

// secrets has systemd read the secrets of the container at each start. They are
// known by the names of their targets, which differ.
func secrets(c spec.Container, in ServiceInput) ([]Property, error) {
	if len(c.Secrets) == 0 {
		return nil, nil
	}
	if in.SystemdVersion != 0 && in.SystemdVersion < credentialsSystemd {
		return nil, fmt.Errorf("secrets need the credentials of systemd %d, this is systemd %d: %w", credentialsSystemd, in.SystemdVersion, spec.ErrUnsupport)
	}
	if err := CheckSecrets(c.Secrets); err != nil {
		return nil, err
	}
	var all []Credential
	for _, s := range c.Secrets {
		all = append(all, Credential{ID: s.Target, Source: s.Source})
	}
	return []Property{{"LoadCredential", all}}, nil
}

// CheckSecrets reports what a unit cannot express as spec.ErrInvalid.
func CheckSecrets(secrets []spec.Secret) error {
	seen := map[string]bool{}
	for _, s := range secrets {
		switch {
		case !isCredential(s.Target):
			return fmt.Errorf("secret target %q: it must be of letters, digits and _.- and not begin with a dot: %w", s.Target, spec.ErrInvalid)
		case seen[s.Target]:
			return fmt.Errorf("secret target %q: there are two of that name: %w", s.Target, spec.ErrInvalid)
		case filepath.IsAbs(s.Source):
			if err := checkPath(s.Source); err != nil {
				return fmt.Errorf("secret %q: %w", s.Target, err)
			}
			if strings.TrimSpace(s.Source) != s.Source {
				return fmt.Errorf("secret %q: systemd cannot take a path that ends with a blank: %w", s.Source, spec.ErrInvalid)
			}
		case !isCredential(s.Source):
			return fmt.Errorf("secret %q: it must be a path, or the name of a credential, of letters, digits and _.- : %w", s.Source, spec.ErrInvalid)
		}
		seen[s.Target] = true
	}
	return nil
}

// isCredential accepts the names that need no escaping anywhere.
func isCredential(name string) bool {
	outside := func(r rune) bool {
		alnum := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !alnum && !strings.ContainsRune("_.-", r)
	}
	return name != "" && len(name) <= maxName && name[0] != '.' && !strings.ContainsFunc(name, outside)
}
