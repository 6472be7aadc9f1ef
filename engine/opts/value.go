package opts

import (
	"strings"

	"github.com/docker/go-units"
)

// List is a flag that may be given several times. Each value is parsed as it is
// met, so that the error names the flag. It implements pflag.Value.
type List[T any] struct {
	Values []T

	parse func(string) (T, error)
	kind  string
	raw   []string
}

// NewList returns a List whose values go through parse. Kind is what the help
// text calls a value, "" for "list".
func NewList[T any](kind string, parse func(string) (T, error)) *List[T] {
	if kind == "" {
		kind = "list"
	}
	return &List[T]{parse: parse, kind: kind}
}

// Set implements pflag.Value.
func (l *List[T]) Set(s string) error {
	v, err := l.parse(s)
	if err != nil {
		return err
	}
	l.Values = append(l.Values, v)
	l.raw = append(l.raw, s)
	return nil
}

// String implements pflag.Value.
func (l *List[T]) String() string { return strings.Join(l.raw, ",") }

// Type implements pflag.Value.
func (l *List[T]) Type() string { return l.kind }

// Any accepts every string: the parser of lists without a syntax of their own.
func Any(s string) (string, error) { return s, nil }

// One is a flag with a single value that is parsed as it is met. It implements
// pflag.Value.
type One[T any] struct {
	Value T

	parse func(string) (T, error)
	kind  string
	raw   string
}

// NewOne returns a One whose value goes through parse and is called kind in the
// help text.
func NewOne[T any](kind string, parse func(string) (T, error)) *One[T] {
	return &One[T]{parse: parse, kind: kind}
}

// Set implements pflag.Value.
func (o *One[T]) Set(s string) error {
	v, err := o.parse(s)
	if err != nil {
		return err
	}
	o.Value, o.raw = v, s
	return nil
}

// String implements pflag.Value.
func (o *One[T]) String() string { return o.raw }

// Type implements pflag.Value.
func (o *One[T]) Type() string { return o.kind }

// Bytes parses a size such as "64m" or "1.5GiB"; every unit is a power of 1024.
func Bytes(s string) (int64, error) { return units.RAMInBytes(s) }

// BytesOrUnlimited is Bytes, and -1 for "-1".
func BytesOrUnlimited(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	return units.RAMInBytes(s)
}
