package image_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

func set(keys ...string) map[string]struct{} {
	m := map[string]struct{}{}
	for _, k := range keys {
		m[k] = struct{}{}
	}
	return m
}

func TestApplyChanges(t *testing.T) {
	tests := map[string]struct {
		from    image.Config
		changes []string
		want    image.Config
	}{
		"nothing":                            {},
		"CMD exec form":                      {changes: []string{`CMD ["a", "b c"]`}, want: image.Config{Cmd: []string{"a", "b c"}}},
		"CMD shell form":                     {changes: []string{`cmd a "b c" $X`}, want: image.Config{Cmd: []string{"/bin/sh", "-c", `a "b c" $X`}}},
		"bad JSON is the shell form":         {changes: []string{`CMD [ -f /x ]`}, want: image.Config{Cmd: []string{"/bin/sh", "-c", `[ -f /x ]`}}},
		"the image's shell":                  {from: image.Config{Shell: []string{"/bin/bash", "-ec"}}, changes: []string{`CMD x`}, want: image.Config{Shell: []string{"/bin/bash", "-ec"}, Cmd: []string{"/bin/bash", "-ec", "x"}}},
		"ENTRYPOINT forgets an older CMD":    {from: image.Config{Cmd: []string{"old"}}, changes: []string{`ENTRYPOINT ["/e"]`}, want: image.Config{Entrypoint: []string{"/e"}}},
		"ENTRYPOINT keeps a CMD given first": {changes: []string{`CMD ["c"]`, `ENTRYPOINT ["/e"]`}, want: image.Config{Cmd: []string{"c"}, Entrypoint: []string{"/e"}}},
		"ENV with quotes":                    {changes: []string{`ENV A=1 B="x y" C='$A' D=x\ y E=$A-${A} F="${A}\"\n" G=${N:-d} H=${A:+i}`}, want: image.Config{Env: []string{"A=1", "B=x y", "C=$A", "D=x y", "E=-", `F="\n`, "G=d", "H="}}},
		"ENV sees earlier ones":              {from: image.Config{Env: []string{"PATH=/bin"}}, changes: []string{`ENV PATH=/x:$PATH`, `ENV P2=$PATH`}, want: image.Config{Env: []string{"PATH=/x:/bin", "P2=/x:/bin"}}},
		"ENV old form":                       {changes: []string{`ENV A b  c`}, want: image.Config{Env: []string{"A=b  c"}}},
		"ENV empty value":                    {changes: []string{`ENV A=`}, want: image.Config{Env: []string{"A="}}},
		"LABEL":                              {changes: []string{`LABEL a=b "c d"="e f"`}, want: image.Config{Labels: map[string]string{"a": "b", "c d": "e f"}}},
		"EXPOSE":                             {changes: []string{`EXPOSE 80 53/UDP 90-92/tcp`}, want: image.Config{ExposedPorts: set("80/tcp", "53/udp", "90/tcp", "91/tcp", "92/tcp")}},
		"USER":                               {from: image.Config{Env: []string{"U=me"}}, changes: []string{`USER $U:staff`}, want: image.Config{Env: []string{"U=me"}, User: "me:staff"}},
		"WORKDIR is relative to the last":    {changes: []string{`WORKDIR /a`, `WORKDIR b/../c`}, want: image.Config{WorkingDir: "/a/c"}},
		"VOLUME words":                       {changes: []string{`VOLUME /a /b`}, want: image.Config{Volumes: set("/a", "/b")}},
		"VOLUME JSON":                        {changes: []string{`VOLUME ["/a b"]`}, want: image.Config{Volumes: set("/a b")}},
		"STOPSIGNAL":                         {changes: []string{`STOPSIGNAL SIGRTMIN+3`}, want: image.Config{StopSignal: "SIGRTMIN+3"}},
		"STOPSIGNAL number":                  {changes: []string{`STOPSIGNAL 9`}, want: image.Config{StopSignal: "9"}},
		"ONBUILD":                            {changes: []string{`ONBUILD RUN make all`}, want: image.Config{OnBuild: []string{"RUN make all"}}},
		"HEALTHCHECK NONE":                   {changes: []string{`HEALTHCHECK NONE`}, want: image.Config{Healthcheck: &image.Healthcheck{Test: []string{"NONE"}}}},
		"HEALTHCHECK shell": {changes: []string{`HEALTHCHECK --interval=5s --timeout=1m --start-period=2s --start-interval=1s --retries=4 CMD curl x || exit 1`}, want: image.Config{Healthcheck: &image.Healthcheck{
			Test: []string{"CMD-SHELL", "curl x || exit 1"}, Interval: 5 * time.Second, Timeout: time.Minute, StartPeriod: 2 * time.Second, StartInterval: time.Second, Retries: 4,
		}}},
		"HEALTHCHECK exec": {changes: []string{`HEALTHCHECK CMD ["true"]`}, want: image.Config{Healthcheck: &image.Healthcheck{Test: []string{"CMD", "true"}}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := tt.from
			if err := image.ApplyChanges(&got, tt.changes); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ApplyChanges(%q) (-want +got):\n%s", tt.changes, diff)
			}
		})
	}
}

func TestApplyChangesRefuses(t *testing.T) {
	for _, change := range []string{
		"", "CMD", "FROM x", "RUN x", "COPY a b", "MAINTAINER me", "ENV", "ENV A", "ENV =b", "ENV A=b c", `ENV A="b`, "ENV A=${B", "ENV A=${B:?x}",
		"LABEL", "LABEL x", "EXPOSE 0", "EXPOSE 65536", "EXPOSE 80/icmp", "EXPOSE 9-8", "EXPOSE x", "USER a b", `USER ""`, `WORKDIR ""`, `VOLUME [""]`,
		"STOPSIGNAL 0", "STOPSIGNAL 65", "STOPSIGNAL SIG TERM", "STOPSIGNAL -9", "ONBUILD ONBUILD RUN x", "ONBUILD FROM x", "ONBUILD RUN",
		"HEALTHCHECK", "HEALTHCHECK CMD", "HEALTHCHECK NONE x", "HEALTHCHECK --interval=1 CMD x", "HEALTHCHECK --interval=-1s CMD x", "HEALTHCHECK --what=1s CMD x",
		"HEALTHCHECK --retries=x CMD x", "HEALTHCHECK EXEC x", "CMD a\x00b",
	} {
		before := image.Config{Env: []string{"A=a"}, Labels: map[string]string{"k": "v"}}
		c := before.Clone()
		err := image.ApplyChanges(&c, []string{"ENV A=changed B=1", "LABEL k=changed", change})
		if !errors.Is(err, spec.ErrInvalid) || !strings.Contains(err.Error(), "invalid change") {
			t.Errorf("%q: %v", change, err)
		}
		if diff := cmp.Diff(before, c); diff != "" {
			t.Errorf("%q was refused but has changed (-want +got):\n%s", change, diff)
		}
	}
}

// FuzzApplyChanges checks that the parser neither crashes nor makes configurations
// that contradict themselves.
func FuzzApplyChanges(f *testing.F) {
	for _, s := range []string{`ENV A="b $C" D='x'`, `CMD ["a"]`, `HEALTHCHECK --interval=1s CMD x`, `EXPOSE 1-3/udp`, `VOLUME ["/x"]`, `LABEL a=${B:-c}`, `WORKDIR ../x`, `STOPSIGNAL SIGHUP`, "ENV A=\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, change string) {
		c := image.Config{Env: []string{"A=a"}}
		if err := image.ApplyChanges(&c, []string{change}); err != nil {
			if !errors.Is(err, spec.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		for _, kv := range c.Env {
			if k, _, ok := strings.Cut(kv, "="); !ok || k == "" {
				t.Fatalf("%q made the environment entry %q", change, kv)
			}
		}
		if c.WorkingDir != "" && !strings.HasPrefix(c.WorkingDir, "/") {
			t.Fatalf("%q made the working directory %q", change, c.WorkingDir)
		}
	})
}
