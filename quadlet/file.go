// Package quadlet reads the files with which podman-systemd.unit(5) describes
// containers, volumes, networks, images and builds, and turns them into the flags that the
// verbs of cleat have, and into systemd units. It knows the format alone: what a
// flag's value may be is its front end's business.
package quadlet

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind is what a file describes: the suffix of its name, without the dot.
type Kind string

// The kinds.
const (
	KindContainer Kind = "container"
	KindVolume    Kind = "volume"
	KindNetwork   Kind = "network"
	KindImage     Kind = "image"
	KindBuild     Kind = "build"
)

// section is the section of a file that is about its object.
func (k Kind) section() string { return strings.ToUpper(string(k[:1])) + string(k[1:]) }

// Problem is something wrong with a file.
type Problem struct {
	Path string
	Line int // 0 if it is about the whole file
	Text string
}

// Error says where it is and what.
func (p *Problem) Error() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.Path, p.Text)
	}
	return fmt.Sprintf("%s:%d: %s", p.Path, p.Line, p.Text)
}

// Entry is one setting of a file.
type Entry struct {
	Key, Value string
	Path       string // of the file, or of a drop-in
	Line       int
}

// Problem returns what is wrong with the entry.
func (e Entry) Problem(format string, args ...any) error {
	return &Problem{e.Path, e.Line, fmt.Sprintf(format, args...)}
}

// File is what one file says, with its drop-ins.
type File struct {
	Path string
	Kind Kind
	Base string // its name without directory and suffix

	sections map[string][]Entry
	text     []string // of the file and its drop-ins
}

// Parse reads the text of the file at path, whose suffix says what it describes.
// The error joins a *Problem for each thing that is wrong.
func Parse(path, text string) (*File, error) {
	f := &File{Path: path, sections: map[string][]Entry{}}
	name := filepath.Base(path)
	suffix := strings.TrimPrefix(filepath.Ext(name), ".")
	f.Kind, f.Base = Kind(suffix), strings.TrimSuffix(name, "."+suffix)
	switch f.Kind {
	case KindContainer, KindVolume, KindNetwork, KindImage, KindBuild:
	default:
		return nil, &Problem{path, 0, kindProblem(suffix)}
	}
	if err := checkBase(f.Base); err != nil {
		return nil, &Problem{path, 0, err.Error()}
	}
	return f, f.add(path, text)
}

func kindProblem(suffix string) string {
	switch suffix {
	case "pod":
		return "there are no pods: give the containers one network, or Network=container:NAME"
	case "kube":
		return "Kubernetes YAML is not read: write a .container for each container, or a compose file"
	}
	return fmt.Sprintf("%q is no kind of file that is known: the kinds are .container, .volume, .network, .image and .build", "."+suffix)
}

func checkBase(base string) error {
	outside := func(r rune) bool {
		alnum := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !alnum && !strings.ContainsRune("_.-", r)
	}
	switch {
	case strings.Contains(base, "@"):
		return errors.New("templates are not supported: write a file for each instance")
	case base == "" || strings.ContainsFunc(base, outside) || strings.ContainsAny(base[:1], "_.-"):
		return fmt.Errorf("the name %q has to be of [a-zA-Z0-9_.-], the first a letter or digit", base)
	}
	return nil
}

// add reads the file's text, or that of a drop-in.
func (f *File) add(path, text string) error {
	f.text = append(f.text, text)
	var problems []error
	section := ""
	for line, n := range logicalLines(text) {
		switch {
		case line == "":
		case !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return r != '\t' && unicode.IsControl(r) }):
			problems = append(problems, &Problem{path, n, "the line has control characters, or is not UTF-8"})
		case line[0] == '[':
			if section = strings.TrimSuffix(line[1:], "]"); section == line[1:] || strings.ContainsAny(section, "[]") || section == "" {
				problems = append(problems, &Problem{path, n, fmt.Sprintf("%q is no section: a section is [NAME]", line)})
				section = "X-broken"
			}
			if f.sections[section] == nil {
				f.sections[section] = []Entry{}
			}
		default:
			key, value, ok := strings.Cut(line, "=")
			e := Entry{strings.TrimSpace(key), strings.TrimSpace(value), path, n}
			switch {
			case !ok || e.Key == "" || strings.ContainsAny(e.Key, " \t"):
				problems = append(problems, e.Problem("%q is no setting: a setting is KEY=VALUE", line))
			case section == "":
				problems = append(problems, e.Problem("%s= is above the first section", e.Key))
			default:
				f.sections[section] = append(f.sections[section], e)
			}
		}
	}
	return errors.Join(problems...)
}

// logicalLines yields the lines of a unit file with their numbers: without
// comments and blanks at the ends, and joined where a backslash says that they go
// on, see systemd.syntax(7).
func logicalLines(text string) func(func(string, int) bool) {
	return func(yield func(string, int) bool) {
		pending, first, n := "", 0, 0
		for line := range strings.SplitSeq(text, "\n") {
			n++
			line = strings.TrimSuffix(line, "\r")
			trimmed := strings.TrimSpace(line)
			if strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";") {
				continue // also between lines that belong together
			}
			if pending == "" {
				first = n
			}
			if rest, ok := strings.CutSuffix(trimmed, `\`); ok {
				pending += rest + " "
				continue
			}
			if !yield(strings.TrimSpace(pending+trimmed), first) {
				return
			}
			pending = ""
		}
		if strings.TrimSpace(pending) != "" {
			yield(strings.TrimSpace(pending), first)
		}
	}
}

// splitWords splits a value at blanks, with quotes and escape sequences as
// systemd.syntax(7) has them.
func splitWords(s string) ([]string, error) {
	var words []string
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" {
			return words, nil
		}
		word, rest, err := firstWord(s)
		if err != nil {
			return nil, err
		}
		words, s = append(words, word), rest
	}
}

// firstWord returns the first word of s, which does not begin with a blank.
func firstWord(s string) (word, rest string, err error) {
	var b strings.Builder
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			n, err := unescape(&b, s[i+1:])
			if err != nil {
				return "", "", err
			}
			i += n
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && (c == ' ' || c == '\t'):
			return b.String(), s[i:], nil
		default:
			b.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", "", fmt.Errorf("the quotation mark %c is not closed", quote)
	}
	return b.String(), "", nil
}

// simpleEscapes are the escape sequences of one character.
var simpleEscapes = map[byte]byte{
	'a': '\a', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v', '\\': '\\', '"': '"', '\'': '\'', 's': ' ',
}

// unescape writes what the sequence at the start of s, which follows a backslash,
// stands for, and returns its length.
func unescape(b *strings.Builder, s string) (int, error) {
	if s == "" {
		return 0, errors.New("a backslash is the last character")
	}
	if c, ok := simpleEscapes[s[0]]; ok {
		b.WriteByte(c)
		return 1, nil
	}
	if s[0] == 'x' && len(s) >= 3 {
		var n int
		if _, err := fmt.Sscanf(s[1:3], "%02x", &n); err == nil && n > 0 && !strings.ContainsAny(s[1:3], " +-") {
			b.WriteByte(byte(n))
			return 3, nil
		}
	}
	return 0, fmt.Errorf(`\%c is no escape sequence that is known`, s[0])
}
