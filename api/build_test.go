package api

import (
	"bufio"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
)

func buildRequest(query string) *request {
	r := httptest.NewRequest(http.MethodPost, "/build?"+query, nil)
	return &request{Request: r, query: r.URL.Query(), version: newest}
}

func TestBuildArgs(t *testing.T) {
	q := func(name, value string) string { return name + "=" + url.QueryEscape(value) }
	tests := map[string]struct {
		want string // words; _ stands for a space within one
		err  string
	}{
		"":                                {want: "--file=Dockerfile -- -"},
		"rm=0&forcerm=1&version=1":        {want: "--file=Dockerfile -- -"},
		"t=a&t=b:1&t=&q=1&pull=true":      {want: "--tag=a --tag=b:1 --pull=true --quiet=true --file=Dockerfile -- -"},
		"nocache=1&squash=0&pull=false":   {want: "--no-cache=true --file=Dockerfile -- -"},
		"dockerfile=-":                    {want: "--file=./- -- -"},
		"dockerfile=-x&target=--help":     {want: "--target=--help --file=-x -- -"},
		"memory=5&memswap=-1&cpushares=0": {want: "--memory=5 --file=Dockerfile -- -"},
		"cpuperiod=1&cpuquota=2&cpusetcpus=0&cpusetmems=1":                    {want: "--cpuset-cpus=0 --cpuset-mems=1 --cpu-period=1 --cpu-quota=2 --file=Dockerfile -- -"},
		"extrahosts=a:1.2.3.4&extrahosts=b:::1":                               {want: "--add-host=a:1.2.3.4 --add-host=b:::1 --file=Dockerfile -- -"},
		q("cachefrom", `["a","b"]`) + "&" + q("securityopt", `["x=y"]`):       {want: "--cache-from=a --cache-from=b --security-opt=x=y --file=Dockerfile -- -"},
		q("cachefrom", "null") + "&" + q("cachefrom", "[]"):                   {want: "--file=Dockerfile -- -"},
		q("buildargs", `{"B":"2 3","A":"x=y","C":null,"D":""}`):               {want: "--build-arg=A=x=y --build-arg=B=2_3 --build-arg=D= --file=Dockerfile -- -"},
		q("labels", `{"k":"v"}`) + "&shmsize=1000&networkmode=none":           {want: "--network=none --label=k=v --shm-size=1000 --file=Dockerfile -- -"},
		q("ulimits", `[{"Name":"nofile","Soft":1,"Hard":2}]`):                 {want: "--ulimit=nofile=1:2 --file=Dockerfile -- -"},
		"platform=linux/amd64&isolation=process&cgroupparent=x":               {want: "--cgroup-parent=x --isolation=process --platform=linux/amd64 --file=Dockerfile -- -"},
		q("platform", `{"os":"linux","architecture":"arm64","variant":"v8"}`): {want: "--platform=linux/arm64/v8 --file=Dockerfile -- -"},
		q("remote", "https://h/r.git#b:d"):                                    {want: "-- https://h/r.git#b:d"},
		q("remote", "git@h:r.git") + "&dockerfile=sub/D":                      {want: "--file=sub/D -- git@h:r.git"},
		"remote=/etc":                      {err: "invalid remote context"},
		"remote=--help":                    {err: "invalid remote context"},
		"remote=file:///etc":               {err: "invalid remote context"},
		"remote=client-session":            {err: "invalid remote context"},
		"version=2":                        {err: "BuildKit"},
		"version=3":                        {err: "invalid version"},
		q("outputs", `[{"Type":"local"}]`): {err: "BuildKit"},
		"memory=lots":                      {err: "memory"},
		"memory=-2":                        {err: "memory"},
		"buildargs=[]":                     {err: "invalid JSON"},
		q("buildargs", `{"A=B":"x"}`):      {err: "equals sign"},
		q("labels", `{"":"x"}`):            {err: "empty"},
		"cachefrom=x":                      {err: "invalid JSON"},
		"ulimits=[1]":                      {err: "invalid JSON"},
		"t=a%00b":                          {err: "NUL"},
		q("buildargs", `{"A":"`+strings.Repeat("x", maxBuildArg)+`"}`): {err: "too long"},
		q("platform", `{"os":1}`):                                      {err: "platform"},
	}
	for query, tt := range tests {
		got, err := buildRequest(query).buildArgs()
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || status(err) < 400 || status(err) > 501 || status(err) == 500 {
				t.Errorf("%.200s: error is %v, want one with %q", query, err, tt.err)
			}
			continue
		}
		if text := strings.Join(got, " "); err != nil || text != strings.ReplaceAll(tt.want, "_", " ") {
			t.Errorf("%s: %v\ngot  %s\nwant %s", query, err, text, tt.want)
		}
	}
}

func TestBuildCredentials(t *testing.T) {
	r := buildRequest("")
	r.Header.Set("X-Registry-Config", base64.URLEncoding.EncodeToString([]byte(
		`{"https://index.docker.io/v1/":{"username":"u","password":"p"},"r.example:5000":{"auth":"YTpiOmM="},"t.example":{"identitytoken":"i"}}`)))
	got, err := r.buildCredentials()
	want := []engine.Credentials{{Server: "docker.io", User: "u", Password: "p"}, {Server: "r.example:5000", User: "a", Password: "b:c"}, {Server: "t.example", IdentityToken: "i"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"?", base64.URLEncoding.EncodeToString([]byte("[]")), base64.URLEncoding.EncodeToString([]byte(`{"x":{"auth":"?"}}`)), base64.URLEncoding.EncodeToString([]byte(`{"x":{"auth":"YQ=="}}`))} {
		r.Header.Set("X-Registry-Config", bad)
		if list, err := r.buildCredentials(); err == nil || !strings.Contains(err.Error(), "X-Registry-Config") {
			t.Errorf("%q: %v, %v", bad, list, err)
		}
	}
}

// A builder is a program that answers: here a script.
func TestBuildAnswers(t *testing.T) {
	const failure = `{"errorDetail":{"code":3,"message":"so"},"error":"so"}`
	tests := map[string]struct {
		script string
		code   int
		want   string
	}{
		"what the builder writes is the answer":  {`cat; read -r c <&3; printf '{"stream":"%s"}\r\n' "$*"`, 200, "body{\"stream\":\"--api --file=Dockerfile -- -\"}"},
		"credentials come apart":                 {`read -r c <&3; echo "$c"`, 200, `[{"Server":"r","User":"u","Password":"p","IdentityToken":"","RegistryToken":""}]`},
		"an error alone has a status":            {`cat >/dev/null; echo '` + failure + `'; exit 1`, 400, `{"message":"so"}`},
		"an error comes last":                    {`echo '{"stream":"x"}'; echo '` + failure + `'; exit 1`, 200, `{"stream":"x"}` + "\n" + failure},
		"a builder that complains":               {`echo "ERROR: unknown flag" >&2; exit 1`, 400, `{"message":"unknown flag"}`},
		"one that dies without a word":           {`kill -9 $$`, 400, `{"message":"the builder has ended: signal: killed"}`},
		"one that dies in the middle":            {`echo '{"stream":"x"}'; kill -9 $$`, 200, `{"stream":"x"}` + "\n" + `{"errorDetail":{"message":"the builder has ended: signal: killed"},"error":"the builder has ended: signal: killed"}`},
		"one that does not want to have it all":  {`exec <&-; echo done`, 200, "done"},
		"one that says nothing has done nothing": {`exit 0`, 200, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(newServer(&fake{}, Options{Builder: Program{Args: []string{"/bin/sh", "-c", tt.script, "sh"}}}))
			defer s.Close()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1.41/build", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Registry-Config", base64.URLEncoding.EncodeToString([]byte(`{"r":{"username":"u","password":"p"}}`)))
			code, got := answerTo(t, req)
			if code != tt.code || got != tt.want {
				t.Errorf("%d %q, want %d %q", code, got, tt.code, tt.want)
			}
		})
	}
}

// Whoever has given a build an id can end it.
func TestBuildCancel(t *testing.T) {
	const script = `trap 'echo "{\"error\":\"cancelled\",\"errorDetail\":{\"message\":\"cancelled\"}}"; exit 1' TERM; echo "{\"stream\":\"x\"}"; while :; do read -r x <&3 || exit 9; done`
	s := httptest.NewServer(newServer(&fake{}, Options{Builder: Program{Args: []string{"/bin/sh", "-c", script}}}))
	defer s.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/build?buildid=one", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	if line, err := in.ReadString('\n'); line != "{\"stream\":\"x\"}\n" {
		t.Fatalf("%q, %v", line, err)
	}
	for _, id := range []string{"other", "one"} {
		cancel, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/build/cancel?id="+id, nil)
		if err != nil {
			t.Fatal(err)
		}
		if code, text := answerTo(t, cancel); code != http.StatusOK {
			t.Errorf("cancel: %d %s", code, text)
		}
	}
	if rest, err := io.ReadAll(in); !strings.Contains(string(rest), "cancelled") {
		t.Errorf("%q, %v", rest, err)
	}
}

func answerTo(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(data))
}

// Whatever a client asks for, cleat-build gets flags, then "--", then one place that
// is none of this machine's.
func FuzzBuildQuery(f *testing.F) {
	for _, s := range []string{
		`t=a&t=b:1&q=1&buildargs={"A":"b"}`, `remote=https://h/r.git&dockerfile=x`, `dockerfile=-&extrahosts=a:1`, `ulimits=[{"Name":"n","Soft":1,"Hard":2}]`,
		`platform={"os":"linux"}&memory=-1`, `labels={"a":null}&cachefrom=["--x"]`, `remote=/etc`, `target=--&networkmode=--`,
	} {
		f.Add(s, base64.URLEncoding.EncodeToString([]byte(`{"r":{"auth":"YTpi"}}`)))
	}
	f.Fuzz(func(t *testing.T, query, head string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		r := &request{Request: httptest.NewRequest(http.MethodPost, "/build", nil), query: values, version: newest}
		r.Header.Set("X-Registry-Config", head)
		if _, err := r.buildCredentials(); err != nil && status(err) != http.StatusBadRequest {
			t.Errorf("%q: %v", head, err)
		}
		args, err := r.buildArgs()
		if err != nil {
			if code := status(err); code != http.StatusBadRequest && code != http.StatusNotImplemented {
				t.Errorf("%q: %v", query, err)
			}
			return
		}
		where := args[len(args)-1]
		if args[len(args)-2] != "--" || where != "-" && (strings.HasPrefix(where, "/") || strings.HasPrefix(where, ".")) {
			t.Errorf("%q: %q", query, args)
		}
		for _, a := range args[:len(args)-2] {
			if name, _, ok := strings.Cut(a, "="); !ok || !strings.HasPrefix(name, "--") || strings.ContainsRune(a, 0) {
				t.Errorf("%q: argument %q", query, a)
			}
		}
	})
}
