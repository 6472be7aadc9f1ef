package compose

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// quadletFile is a file of podman-systemd.unit(5) that is being written.
type quadletFile struct {
	name string
	text strings.Builder
	head string // a section that has no entry yet
	err  error  // the first thing that no line can say
}

func (q *quadletFile) section(name string) {
	q.head = "[" + name + "]\n"
	if q.text.Len() > 0 {
		q.head = "\n" + q.head
	}
}

// set writes an entry, unless the value is empty.
func (q *quadletFile) set(key, value string) {
	if value != "" {
		q.line(key, strings.ReplaceAll(value, "%", "%%"))
	}
}

func (q *quadletFile) line(key, value string) {
	if strings.ContainsAny(value, "\n\r\x00") || strings.HasSuffix(value, `\`) || strings.TrimSpace(value) != value {
		q.err = fmt.Errorf("%s: no line of %s can say %q: %w", key, q.name, value, spec.ErrUnsupport)
	}
	q.text.WriteString(q.head + key + "=" + value + "\n")
	q.head = ""
}

func (q *quadletFile) flag(key string, on bool) {
	if on {
		q.set(key, "true")
	}
}

func (q *quadletFile) number(key string, n int64) {
	if n > 0 {
		q.set(key, strconv.FormatInt(n, 10))
	}
}

func (q *quadletFile) list(key string, values []string) {
	for _, v := range values {
		q.set(key, v)
	}
}

// words writes an entry of several words, each in quotation marks, after the
// replacements.
func (q *quadletFile) words(key string, words []string, replace ...string) {
	if len(words) == 0 {
		return
	}
	escape := strings.NewReplacer(append([]string{`\`, `\\`, `"`, `\"`, "%", "%%", "\n", `\n`, "\r", `\r`, "\t", `\t`}, replace...)...)
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = `"` + escape.Replace(w) + `"`
	}
	q.line(key, strings.Join(quoted, " "))
}

func (q *quadletFile) labels(labels map[string]string) {
	for _, name := range sorted(labels) {
		q.words("Label", []string{name + "=" + labels[name]})
	}
}

func (q *quadletFile) done() Described {
	return Described{q.name, q.text.String() + strings.TrimPrefix(q.head, "\n")}
}
