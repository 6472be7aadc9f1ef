// Package format prints lists and objects as Docker prints them: as a table, as
// JSON, or through a template of the user's.
package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"
	"time"
	"unicode/utf8"

	"github.com/docker/go-units"
)

// The names of formats that are not templates.
const (
	table    = "table"
	jsonName = "json"
)

// List prints rows in the form that format asks for. R is a struct whose fields
// (and methods) are what a template may name; its JSON form is that of "json".
type List[R any] struct {
	Columns []Column[R] // of the plain table
	Quiet   func(R) string
	Headers any // what a template with "table" prints above its columns: fields named like R's
}

// Column is one column of the plain table.
type Column[R any] struct {
	Header string
	Cell   func(R) string
}

// Print writes rows to w. Format is "", "table", "json", a template, or "table "
// and a template; with quiet only what Quiet returns is printed for each row.
func (l List[R]) Print(w io.Writer, format string, quiet bool, rows []R) error {
	switch {
	case quiet && (format == "" || format == table):
		var out bytes.Buffer
		for _, r := range rows {
			out.WriteString(l.Quiet(r) + "\n")
		}
		_, err := w.Write(out.Bytes())
		return err
	case format == "" || format == table:
		return l.table(w, rows)
	case format == jsonName:
		return printJSON(w, rows)
	}
	return l.template(w, format, rows)
}

func (l List[R]) table(w io.Writer, rows []R) error {
	t := make([][]string, 0, len(rows)+1)
	head := make([]string, 0, len(l.Columns))
	for _, c := range l.Columns {
		head = append(head, c.Header)
	}
	t = append(t, head)
	for _, r := range rows {
		line := make([]string, 0, len(l.Columns))
		for _, c := range l.Columns {
			line = append(line, c.Cell(r))
		}
		t = append(t, line)
	}
	return Table(w, t)
}

func printJSON[R any](w io.Writer, rows []R) error {
	for _, r := range rows {
		text, err := JSON(r)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return nil
}

func (l List[R]) template(w io.Writer, format string, rows []R) error {
	text, asTable := strings.CutPrefix(format, table+" ")
	t, err := Parse(text)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if asTable {
		if err := t.Execute(&out, l.Headers); err != nil {
			return executeError(err)
		}
		out.WriteByte('\n')
	}
	for _, r := range rows {
		if err := t.Execute(&out, r); err != nil {
			return executeError(err)
		}
		out.WriteByte('\n')
	}
	if !asTable {
		_, err = w.Write(out.Bytes())
		return err
	}
	var cells [][]string
	for line := range strings.Lines(out.String()) {
		cells = append(cells, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return Table(w, cells)
}

// The measures of Docker's tables.
const (
	minWidth = 10
	padding  = 3
)

// Table writes lines of cells to w, padded so that they stand in columns. The
// last cell of a line is not padded.
func Table(w io.Writer, lines [][]string) error {
	var widths []int
	for _, line := range lines {
		for i := range len(line) - 1 {
			if i == len(widths) {
				widths = append(widths, minWidth)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(line[i])+padding)
		}
	}
	var out bytes.Buffer
	for _, line := range lines {
		for i, cell := range line {
			out.WriteString(cell)
			if i < len(line)-1 {
				out.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
			}
		}
		out.WriteByte('\n')
	}
	_, err := w.Write(out.Bytes())
	return err
}

// Parse parses a template with Docker's functions. The two characters \t and \n
// may stand for a tab and a line end.
func Parse(text string) (*template.Template, error) {
	text = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(text)
	t, err := template.New("").Funcs(functions()).Parse(text)
	if err != nil {
		return nil, &SyntaxError{err}
	}
	return t, nil
}

// SyntaxError is a template that is none.
type SyntaxError struct{ err error }

// Error implements error.
func (e *SyntaxError) Error() string { return "template parsing error: " + e.err.Error() }

// Unwrap returns what package text/template says.
func (e *SyntaxError) Unwrap() error { return e.err }

// Check returns an error if a template names what a row like r has not.
func Check(t *template.Template, r any) error {
	if err := t.Execute(io.Discard, r); err != nil {
		return fieldError(err)
	}
	return nil
}

func functions() template.FuncMap {
	return template.FuncMap{
		"json":  JSON,
		"split": strings.Split,
		"join":  join,
		"title": title,
		"lower": strings.ToLower,
		"upper": strings.ToUpper,
		"pad": func(s string, before, after int) string {
			return strings.Repeat(" ", before) + s + strings.Repeat(" ", after)
		},
		"truncate": truncate,
		"trunc":    truncate,
	}
}

// join is strings.Join, also for a list that was decoded from JSON.
func join(list any, sep string) (string, error) {
	switch l := list.(type) {
	case nil:
		return "", nil
	case []string:
		return strings.Join(l, sep), nil
	case []any:
		words := make([]string, 0, len(l))
		for _, v := range l {
			words = append(words, fmt.Sprint(v))
		}
		return strings.Join(words, sep), nil
	}
	return "", fmt.Errorf("join wants a list, not %T", list)
}

// title makes the first letter of each word upper case.
func title(s string) string {
	prev := ' '
	return strings.Map(func(r rune) rune {
		defer func() { prev = r }()
		if prev == ' ' || prev == '\t' || prev == '\n' {
			return []rune(strings.ToUpper(string(r)))[0]
		}
		return r
	}, s)
}

func truncate(s string, n int) string {
	if r := []rune(s); n >= 0 && len(r) > n {
		return string(r[:n])
	}
	return s
}

// JSON returns v as one line of JSON, without escaping what only HTML needs.
func JSON(v any) (string, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", fmt.Errorf("encode as JSON: %w", err)
	}
	return strings.TrimSpace(out.String()), nil
}

// Objects prints what "inspect" found: as one JSON array, or each through the
// template (or "json") in format.
func Objects(w io.Writer, format string, objects []any) error {
	switch format {
	case "":
		return indented(w, objects)
	case jsonName:
		return printJSON(w, objects)
	}
	t, err := Parse(format)
	if err != nil {
		return err
	}
	for _, o := range objects {
		text, err := execute(t, o)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return nil
}

func indented(w io.Writer, objects []any) error {
	if objects == nil {
		objects = []any{}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "    ")
	if err := enc.Encode(objects); err != nil {
		return fmt.Errorf("encode as JSON: %w", err)
	}
	_, err := w.Write(out.Bytes())
	return err
}

// execute runs t on o as Docker does: on the object with its Go names, or else
// on what its JSON form decodes to, whose names are those that people see.
func execute(t *template.Template, o any) (string, error) {
	var out bytes.Buffer
	goErr := t.Execute(&out, o)
	if goErr == nil {
		return out.String(), nil
	}
	text, err := JSON(o)
	if err != nil {
		return "", errors.Join(goErr, err)
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var raw any
	if err := dec.Decode(&raw); err != nil {
		return "", errors.Join(goErr, err)
	}
	out.Reset()
	if err := t.Option("missingkey=error").Execute(&out, raw); err != nil {
		return "", executeError(err)
	}
	return out.String(), nil
}

// Ellipsis shortens s to n characters, the last of which is then an ellipsis.
func Ellipsis(s string, n int) string {
	if r := []rune(s); len(r) > n && n > 0 {
		return string(r[:n-1]) + "…"
	}
	return s
}

// Ago says how long before now t was, "5 minutes ago", and "N/A" for no time.
func Ago(now, t time.Time) string {
	if t.IsZero() {
		return "N/A"
	}
	return units.HumanDuration(now.Sub(t)) + " ago"
}

// Size is a size in bytes as Docker shows it, in powers of 1000.
func Size(n int64) string { return units.HumanSizeWithPrecision(float64(n), 3) }
