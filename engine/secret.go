package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/unitgen"
)

// credentialStores are where systemd looks for a credential that is given by name,
// see LoadCredential= in systemd.exec(5).
var credentialStores = []string{"/etc/credstore", "/run/credstore", "/usr/local/lib/credstore", "/usr/lib/credstore", "/run/credentials/@system"}

// maxSecretBytes is systemd's limit on a credential.
const maxSecretBytes = 1 << 20

// checkSecrets reports what systemd would not say as clearly. It reads no secret.
func checkSecrets(c spec.Container) error {
	if err := unitgen.CheckSecrets(c.Secrets); err != nil {
		return err
	}
	for _, s := range c.Secrets {
		if err := checkSecret(s); err != nil {
			return err
		}
	}
	return nil
}

// CheckSecret reports whether a secret can be one of a container's, as
// spec.ErrInvalid. It does not look for it.
func CheckSecret(s spec.Secret) error {
	if s.Source == "" {
		s.Source = "/" // of CreateOptions.SecretData
	}
	return unitgen.CheckSecrets([]spec.Secret{s})
}

// settleSecrets gives the secrets of c that have no source a file in its directory,
// and returns the files. Root alone can read them, as all that is there.
func (e *Engine) settleSecrets(c *spec.Container, data map[string][]byte) (files map[string][]byte, err error) {
	c.Secrets = slices.Clone(c.Secrets)
	files = map[string][]byte{}
	var others []spec.Secret
	for i, s := range c.Secrets {
		text, ours := data[s.Target]
		if !ours || s.Source != "" {
			others = append(others, s)
			continue
		}
		if len(text) > maxSecretBytes {
			return nil, invalid("secret %q has %d bytes, systemd takes no more than 1 MiB", s.Target, len(text))
		}
		name := "secret." + s.Target
		c.Secrets[i].Source, files[name] = filepath.Join(e.state.Dir(c.ID), name), text
	}
	if err := unitgen.CheckSecrets(c.Secrets); err != nil {
		return nil, err
	}
	for _, s := range others {
		if err := checkSecret(s); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func checkSecret(s spec.Secret) error {
	places := []string{s.Source}
	if !filepath.IsAbs(s.Source) {
		places = nil
		for _, dir := range credentialStores {
			places = append(places, filepath.Join(dir, s.Source))
		}
	}
	for _, path := range places {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return fmt.Errorf("secret %q: %w", s.Source, err)
		case info.IsDir():
			return invalid("secret %q: %s is a directory", s.Source, path)
		case info.Size() > maxSecretBytes:
			return invalid("secret %q: %s has %d bytes, systemd takes no more than 1 MiB", s.Source, path, info.Size())
		}
		return nil
	}
	if filepath.IsAbs(s.Source) {
		return fmt.Errorf("secret %q: there is no such file: %w", s.Source, spec.ErrNotFound)
	}
	return fmt.Errorf("secret %q: there is no such credential in %s: put it there, readable for root alone, or give the path of a file: %w",
		s.Source, strings.Join(credentialStores[:2], " or "), spec.ErrNotFound)
}
