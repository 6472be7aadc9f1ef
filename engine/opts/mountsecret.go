package opts

import (
	"errors"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/spec"
)

// MountOrSecret returns the value of --mount: what is of type=secret goes to
// secrets, in the words of --secret, and everything else to mounts.
func MountOrSecret(mounts *List[spec.Mount], secrets *List[spec.Secret]) pflag.Value {
	return mountOrSecret{mounts, secrets}
}

type mountOrSecret struct {
	*List[spec.Mount]
	secrets *List[spec.Secret]
}

// Set implements pflag.Value.
func (m mountOrSecret) Set(value string) error {
	var fields []string
	isSecret := false
	for _, field := range strings.Split(value, ",") {
		if strings.EqualFold(field, "type=secret") {
			isSecret = true
			continue
		}
		fields = append(fields, field)
	}
	if !isSecret {
		return m.List.Set(value)
	}
	rest, err := secretMountFields(fields)
	if err != nil {
		return err
	}
	return m.secrets.Set(strings.Join(rest, ","))
}

// secretMountFields leaves out what every mount may have and a secret has anyway.
func secretMountFields(fields []string) ([]string, error) {
	var rest []string
	for _, field := range fields {
		key, value, given := strings.Cut(field, "=")
		switch strings.ToLower(key) {
		case "readonly", "ro":
			readOnly := true
			if given {
				if err := setBool(&readOnly, key, value); err != nil {
					return nil, err
				}
			}
			if !readOnly {
				return nil, errors.New("a secret can only be read")
			}
		case "type":
			return nil, errors.New("there are two types")
		default:
			if !given { // --secret NAME has a first field without a key
				return nil, errors.New("invalid field '" + field + "' must be a key=value pair")
			}
			rest = append(rest, field)
		}
	}
	return rest, nil
}
