package unitgen

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// How unit files are read (systemd.syntax(7), systemd.service(5)): a backslash
// at the end continues the line; lists are split at spaces, with quotes; "%"
// begins a specifier everywhere; in command lines "$" begins a variable. Escape
// sequences such as \x0a exist in command lines alone.

// unprintable selects what has no place in a unit file: control characters,
// among them the newline, and what is not UTF-8, which makes systemd drop the
// line.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || r == utf8.RuneError
}

// printable returns s in a form that both forms of a unit can carry as plain
// text: systemd strips spaces at the ends, and a backslash at the end would
// swallow the next line.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unprintable(r) {
			return '?'
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if rest, ok := strings.CutSuffix(s, `\`); ok {
		s = rest + "?"
	}
	return s
}

// plain writes a setting that systemd takes as it is.
func plain(s string) string {
	return strings.ReplaceAll(printable(s), "%", "%%")
}

// words writes a list. Control characters cannot be said in it.
func words(list []string) string {
	out := make([]string, 0, len(list))
	for _, w := range list {
		w = strings.Map(func(r rune) rune {
			if unprintable(r) {
				return '?'
			}
			return r
		}, w)
		out = append(out, quote(w))
	}
	return strings.Join(out, " ")
}

// unitNames writes a list of units, in whose names a backslash stands for itself.
func unitNames(list []string) string {
	out := make([]string, 0, len(list))
	for _, name := range list {
		out = append(out, strings.Map(func(r rune) rune {
			if unprintable(r) || unicode.IsSpace(r) || strings.ContainsRune(`"'%`, r) {
				return '?'
			}
			return r
		}, name))
	}
	return strings.Join(out, " ")
}

// quote puts a word in quotes if it needs them.
func quote(w string) string {
	ordinary := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._:=@+,*-", r)
	}
	special := func(r rune) bool { return !ordinary(r) }
	if w != "" && !strings.ContainsFunc(w, special) {
		return w
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(w) + `"`
}

// commandLine writes one command of ExecStart= and its kin.
func commandLine(e Exec) string {
	var prefix string
	if e.IgnoreFailure {
		prefix = "-"
	}
	args := e.Args
	if len(args) > 0 && args[0] == e.Path {
		args = args[1:]
	} else if len(args) > 0 {
		prefix += "@"
	}
	out := []string{prefix + argument(e.Path)}
	for _, arg := range args {
		out = append(out, argument(arg))
	}
	return strings.Join(out, " ")
}

// argument writes one word of a command line, byte for byte.
func argument(arg string) string { return escaped(arg, "%$") }

// variable writes one word of Environment=, byte for byte.
func variable(word string) string { return escaped(word, "%") }

// escaped writes a word where escape sequences exist. Each of the characters in
// doubled is written twice to stand for itself.
func escaped(arg, doubled string) string {
	var b strings.Builder
	for i := 0; i < len(arg); {
		r, size := utf8.DecodeRuneInString(arg[i:])
		switch {
		case r == utf8.RuneError && size == 1, unicode.IsControl(r):
			for _, c := range []byte(arg[i : i+size]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		case r == '\\', r == '"':
			b.WriteByte('\\')
			b.WriteRune(r)
		case strings.ContainsRune(doubled, r):
			b.WriteRune(r)
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
		i += size
	}
	if b.String() == arg && quote(arg) == arg {
		return arg
	}
	return `"` + b.String() + `"`
}
