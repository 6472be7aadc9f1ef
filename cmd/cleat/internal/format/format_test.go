package format

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type row struct {
	ID     string
	Names  string
	labels map[string]string
}

func (r row) Label(name string) string { return r.labels[name] }

type head struct{ row }

func (head) Label(name string) string { return strings.ToUpper(name) }

var (
	list = List[row]{
		Columns: []Column[row]{
			{"CONTAINER ID", func(r row) string { return r.ID }},
			{"NAMES", func(r row) string { return r.Names }},
		},
		Quiet:   func(r row) string { return r.ID },
		Headers: head{row{ID: "CONTAINER ID", Names: "NAMES"}},
	}
	rows = []row{
		{ID: "0123456789ab", Names: "web", labels: map[string]string{"tier": "front"}},
		{ID: "é", Names: "<db>"},
	}
)

func TestListPrint(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		format string
		quiet  bool
		want   string
	}{
		"a table is the default":             {want: "CONTAINER ID   NAMES\n0123456789ab   web\né              <db>\n"},
		"so is its name":                     {format: "table", want: "CONTAINER ID   NAMES\n0123456789ab   web\né              <db>\n"},
		"quiet prints ids":                   {quiet: true, want: "0123456789ab\né\n"},
		"json is an object a line":           {format: "json", want: `{"ID":"0123456789ab","Names":"web"}` + "\n" + `{"ID":"é","Names":"<db>"}` + "\n"},
		"a template prints a line each":      {format: `{{.Names}}\t{{.Label "tier"}}`, want: "web\tfront\n<db>\t\n"},
		"a template wins over quiet":         {format: "{{.Names}}", quiet: true, want: "web\n<db>\n"},
		"a table template has headings":      {format: `table {{.Names}}\t{{.Label "tier"}}`, want: "NAMES     TIER\nweb       front\n<db>      \n"},
		"functions":                          {format: `{{upper .Names}} {{json .ID}} {{truncate .ID 2}} {{join (split .Names "b") "-"}} {{pad .Names 1 1}}|`, want: "WEB \"0123456789ab\" 01 we-  web |\n<DB> \"é\" é <d->  <db> |\n"},
		"columns are at least ten wide":      {format: "table {{.Names}}\t{{.Names}}", want: "NAMES     NAMES\nweb       web\n<db>      <db>\n"},
		"title makes first letters capitals": {format: "{{title .Names}}", want: "Web\n<db>\n"},
	}
	for name, tt := range tests {
		var out bytes.Buffer
		if err := list.Print(&out, tt.format, tt.quiet, rows); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tt.want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestBadTemplatesAreErrors(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"{{", "{{.Nope}}", "{{nope .ID}}", "table {{.Nope}}"} {
		var out bytes.Buffer
		if err := list.Print(&out, format, false, rows); err == nil || !strings.Contains(err.Error(), "template parsing error") || out.Len() > 0 {
			t.Errorf("%q: error %v, output %q", format, err, &out)
		}
	}
}

type object struct {
	ID     string `json:"Id"`
	Config struct {
		Env    []string
		Labels map[string]string
	}
}

func TestObjects(t *testing.T) {
	t.Parallel()
	o := object{ID: "abc"}
	o.Config.Env, o.Config.Labels = []string{"A=1", "B=2"}, map[string]string{"x.y": "<z>"}
	tests := map[string]struct{ format, want string }{
		"an array is the default": {"", "[\n    {\n        \"Id\": \"abc\",\n        \"Config\": {\n            \"Env\": [\n                \"A=1\",\n                \"B=2\"\n            ],\n            \"Labels\": {\n                \"x.y\": \"<z>\"\n            }\n        }\n    }\n]\n"},
		"json is a line":          {"json", `{"Id":"abc","Config":{"Env":["A=1","B=2"],"Labels":{"x.y":"<z>"}}}` + "\n"},
		"names of the Go struct":  {"{{.ID}}", "abc\n"},
		"names of the JSON":       {"{{.Id}}", "abc\n"},
		"lists":                   {`{{join .Config.Env ","}}`, "A=1,B=2\n"},
		"lists of the JSON":       {`{{.Id}} {{join .Config.Env ","}}`, "abc A=1,B=2\n"},
		"maps":                    {`{{index .Config.Labels "x.y"}}`, "<z>\n"},
		"loops":                   {`{{range .Config.Env}}{{println .}}{{end}}`, "A=1\nB=2\n\n"},
		"json of a part":          {"{{json .Config.Labels}}", `{"x.y":"<z>"}` + "\n"},
	}
	for name, tt := range tests {
		var out bytes.Buffer
		if err := Objects(&out, tt.format, []any{o}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tt.want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	var out bytes.Buffer
	if err := Objects(&out, "", nil); err != nil || out.String() != "[]\n" {
		t.Errorf("nothing prints %q, error %v", &out, err)
	}
	if err := Objects(&out, "{{.Nope}}", []any{o}); err == nil {
		t.Error("an unknown name is no error")
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for got, want := range map[string]string{
		Ellipsis("abcdef", 4):             "abc…",
		Ellipsis("äöüß", 4):               "äöüß",
		Ago(now, now.Add(-5*time.Minute)): "5 minutes ago",
		Ago(now, now.Add(-500*time.Hour)): "2 weeks ago",
		Ago(now, time.Time{}):             "N/A",
		Size(1_234_567):                   "1.23MB",
		Size(0):                           "0B",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
