package image

import (
	"fmt"
	"strings"
)

// splitWords splits s at blanks outside quotes. Quotes and backslashes stay.
func splitWords(s string) ([]string, error) {
	var words []string
	start, quote := -1, byte(0)
	for i := 0; i < len(s); i++ {
		blank := strings.IndexByte(" \t\r\n", s[i]) >= 0
		if start < 0 {
			if blank {
				continue
			}
			start = i
		}
		switch {
		case s[i] == '\\' && quote != '\'':
			i++ // the next byte is part of the word
		case quote != 0:
			if s[i] == quote {
				quote = 0
			}
		case s[i] == '"' || s[i] == '\'':
			quote = s[i]
		case blank:
			words = append(words, s[start:i])
			start = -1
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("quote %c is not closed", quote)
	}
	if start >= 0 {
		words = append(words, s[start:])
	}
	return words, nil
}

// expandWord takes quotes and backslashes away and replaces $NAME, ${NAME},
// ${NAME:-default} and ${NAME:+instead}, as a Dockerfile does. An unknown
// variable is empty.
func expandWord(s string, lookup func(string) (string, bool)) (string, error) {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '\'' && quote != '"', c == '"' && quote != '\'':
			if quote == 0 {
				quote = c
			} else {
				quote = 0
			}
			i++
		case c == '\\' && quote != '\'' && i+1 < len(s):
			if quote == '"' && strings.IndexByte(`"$\`, s[i+1]) < 0 {
				b.WriteByte(c) // inside double quotes it escapes little
			}
			b.WriteByte(s[i+1])
			i += 2
		case c == '$' && quote != '\'':
			value, n, err := expandVariable(s[i:], lookup)
			if err != nil {
				return "", err
			}
			b.WriteString(value)
			i += n
		default:
			b.WriteByte(c)
			i++
		}
	}
	if quote != 0 {
		return "", fmt.Errorf("quote %c is not closed", quote)
	}
	return b.String(), nil
}

// expandVariable returns the value of the variable that s starts with and how
// many bytes of s name it.
func expandVariable(s string, lookup func(string) (string, bool)) (value string, n int, err error) {
	if !strings.HasPrefix(s, "${") {
		n = 1 + nameLen(s[1:])
		if n == 1 {
			return "$", 1, nil
		}
		value, _ = lookup(s[1:n])
		return value, n, nil
	}
	end := strings.IndexByte(s, '}')
	if end < 0 {
		return "", 0, fmt.Errorf("${ is not closed")
	}
	inner := s[2:end]
	name := inner[:nameLen(inner)]
	if name == "" || strings.Contains(inner, "${") {
		return "", 0, fmt.Errorf("${%s}: bad variable", clip(inner))
	}
	value, set := lookup(name)
	switch rest := inner[len(name):]; {
	case rest == "":
	case strings.HasPrefix(rest, ":-"):
		if !set || value == "" {
			value = rest[2:]
		}
	case strings.HasPrefix(rest, ":+"):
		if set && value != "" {
			value = rest[2:]
		} else {
			value = ""
		}
	default:
		return "", 0, fmt.Errorf("${%s}: only :- and :+ are known", clip(inner))
	}
	return value, end + 1, nil
}

// nameLen returns the length of the variable name that s starts with.
func nameLen(s string) int {
	n := 0
	for n < len(s) && (s[n] == '_' || s[n]|0x20 >= 'a' && s[n]|0x20 <= 'z' || n > 0 && s[n] >= '0' && s[n] <= '9') {
		n++
	}
	return n
}
