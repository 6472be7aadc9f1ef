package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestServe(t *testing.T) {
	lookup := func(name string) (string, bool) { return map[string]string{"CLEAT_CONFIG": "/c.yaml"}[name], true }
	tests := map[string]struct{ want, err string }{
		"-H unix:///run/x.sock":          {want: "-socket /run/x.sock"},
		"":                               {err: "no socket given"},
		"-H unix://x.sock":               {err: "has to be absolute"},
		"-H /run/x.sock":                 {err: "form unix://PATH"},
		"-H fd://":                       {err: "form unix://PATH"},
		"-H tcp://127.0.0.1:2375":        {err: "as good as root"},
		"-H tcp://0.0.0.0:2375 --tls":    {err: "without certificates"},
		"-H tcp://0.0.0.0 --tlsverify":   {err: "tcp://ADDRESS:PORT"},
		"-H tcp://:2376 --tlsverify":     {err: "tcp://ADDRESS:PORT"},
		"-H tcp://host:2376 --tlsverify": {err: "tcp://ADDRESS:PORT"},
		"-H unix:///x --tlsverify":       {err: "are for tcp://"},
		"-H tcp://[::1]:2376 --tlsverify --tlscacert /a --tlscert /b --tlskey /c": {want: "-tcp [::1]:2376 -tlsverify -tlscacert /a -tlscert /b -tlskey /c"},
		"-H tcp://192.0.2.1:2376 --tls --insecure-no-client-certificates":         {want: "-tcp 192.0.2.1:2376 -tls -insecure-no-client-certificates"},
		"-H tcp://192.0.2.1:2375 --insecure-no-client-certificates":               {want: "-tcp 192.0.2.1:2375 -insecure-no-client-certificates"},
		"-H tcp://192.0.2.1:2376 --tls --tlsverify":                               {want: "-tcp 192.0.2.1:2376 -tls -tlsverify"},
	}
	for line, tt := range tests {
		f, cmd := serveFlagsOf(t, line)
		got, err := f.command(&cli{root: "/r", lookup: lookup})
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error is %v, want one with %q", line, err, tt.err)
			}
			continue
		}
		want := append(append([]string{"cleat-apid"}, strings.Fields(tt.want)...), "-root", "/r", "-config", "/c.yaml")
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s %s: %v (-want +got):\n%s", cmd.Name(), line, err, diff)
		}
	}
}

// serveFlagsOf reads a command line as serve does.
func serveFlagsOf(t *testing.T, line string) (*serveFlags, *cobra.Command) {
	t.Helper()
	f := &serveFlags{}
	cmd := newServeWith(testCLI(bystander{}), f)
	if err := cmd.Flags().Parse(strings.Fields(line)); err != nil {
		t.Fatal(err)
	}
	return f, cmd
}
