package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestServe(t *testing.T) {
	lookup := func(name string) (string, bool) { return map[string]string{"CLEAT_CONFIG": "/c.yaml"}[name], true }
	tests := map[string]struct {
		want []string
		err  string
	}{
		"unix:///run/x.sock":   {want: []string{"cleat-apid", "-socket", "/run/x.sock", "-root", "/r", "-config", "/c.yaml"}},
		"":                     {err: "no socket given"},
		"unix://x.sock":        {err: "has to be absolute"},
		"/run/x.sock":          {err: "form unix://PATH"},
		"tcp://127.0.0.1:2375": {err: "unix sockets only"},
	}
	for host, tt := range tests {
		f := serveFlags{host: host}
		got, err := f.command(&cli{root: "/r", lookup: lookup})
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("--host %q: error is %v, want one with %q", host, err, tt.err)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("--host %q: %v (-want +got):\n%s", host, err, diff)
		}
	}
}
