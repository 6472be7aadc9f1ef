package opts

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Lookup finds a variable in the caller's environment, like os.LookupEnv.
type Lookup func(name string) (value string, found bool)

// maxLine bounds one line of an environment or label file.
const maxLine = 1 << 20

// EnvParser returns the parser of --env. NAME=value stands as it is; NAME alone
// takes its value from lookup, and is "" if it is not there.
func EnvParser(lookup Lookup) func(string) (string, error) {
	return func(s string) (string, error) {
		name, _, hasValue := strings.Cut(s, "=")
		if name == "" {
			return "", fmt.Errorf("invalid environment variable: %s", s)
		}
		if hasValue {
			return s, nil
		}
		if value, found := lookup(name); found {
			return name + "=" + value, nil
		}
		return "", nil
	}
}

// ReadEnvFile reads a file of --env-file: a variable a line, NAME=value or NAME
// alone (taken from lookup, left out if it is not there). Empty lines and those
// that begin with # are skipped; quotes mean nothing.
func ReadEnvFile(r io.Reader, lookup Lookup) ([]string, error) {
	return readLines(r, lookup)
}

// ReadLabelFile reads a file of --label-file, whose lines are like those of
// ReadEnvFile except that a name alone is a label without a value.
func ReadLabelFile(r io.Reader) ([]string, error) {
	return readLines(r, func(string) (string, bool) { return "", true })
}

func readLines(r io.Reader, lookup Lookup) ([]string, error) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, maxLine)
	var out []string
	for n := 1; scanner.Scan(); n++ {
		line := scanner.Bytes()
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		if !utf8.Valid(line) {
			return nil, fmt.Errorf("invalid utf8 bytes at line %d: %v", n, line)
		}
		pair, err := parseLine(string(line), lookup)
		if err != nil {
			return nil, err
		}
		if pair != "" {
			out = append(out, pair)
		}
	}
	if errors.Is(scanner.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("a line is longer than %d bytes", maxLine)
	}
	return out, scanner.Err()
}

// parseLine returns the NAME=value of one line, "" if it has none.
func parseLine(line string, lookup Lookup) (string, error) {
	line = strings.TrimLeftFunc(line, unicode.IsSpace)
	if line == "" || line[0] == '#' {
		return "", nil
	}
	name, value, hasValue := strings.Cut(line, "=")
	if strings.ContainsAny(name, " \t\n\v\f\r\u0085\u00a0") {
		return "", fmt.Errorf("variable '%s' contains whitespaces", name)
	}
	if name == "" {
		return "", fmt.Errorf("no variable name on line '%s'", line)
	}
	if !hasValue {
		found := false
		if value, found = lookup(name); !found {
			return "", nil
		}
	}
	return name + "=" + value, nil
}

// MergeEnv joins lists of NAME=value. A later value replaces an earlier one at
// its place; empty entries are dropped.
func MergeEnv(lists ...[]string) []string {
	var out []string
	at := make(map[string]int)
	for _, list := range lists {
		for _, pair := range list {
			if pair == "" {
				continue
			}
			name, _, _ := strings.Cut(pair, "=")
			if i, found := at[name]; found {
				out[i] = pair
				continue
			}
			at[name] = len(out)
			out = append(out, pair)
		}
	}
	return out
}

// Label parses one --label: KEY=value, or KEY alone.
func Label(s string) (string, error) {
	const space = " \t"
	key, _, _ := strings.Cut(s, "=")
	key = strings.TrimLeft(key, space)
	if key == "" {
		return "", fmt.Errorf("invalid label '%s': empty name", s)
	}
	if strings.ContainsAny(key, space) {
		return "", fmt.Errorf("label '%s' contains whitespaces", key)
	}
	return s, nil
}

// Map turns lists of KEY=value into a map; a key alone has the value "", and
// the last of several wins. Without entries it is nil.
func Map(lists ...[]string) map[string]string {
	var out map[string]string
	for _, list := range lists {
		for _, pair := range list {
			if out == nil {
				out = make(map[string]string)
			}
			key, value, _ := strings.Cut(pair, "=")
			out[key] = value
		}
	}
	return out
}

// Pair parses KEY=value, as --log-opt and --sysctl want it.
func Pair(s string) (string, error) {
	if key, _, ok := strings.Cut(s, "="); !ok || key == "" {
		return "", fmt.Errorf("%q is not of the form KEY=VALUE", s)
	}
	return s, nil
}

// Sysctl parses --sysctl: NAME=VALUE. Which names a container may set is not
// decided here.
func Sysctl(s string) (string, error) {
	if key, _, ok := strings.Cut(s, "="); !ok || key == "" {
		return "", fmt.Errorf("sysctl '%s' is not allowed", s)
	}
	return s, nil
}
