package tests

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What load may leave of the server, and how much memory it may take meanwhile.
const (
	loadPeakKiB    = 100 << 10
	loadGoroutines = 8
	loadFiles      = 4
)

// count returns the number in the environment variable name, which has tests do
// more than there is time for in every run.
func count(t *testing.T, name string, usual int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s=%s: %v", name, text, err)
	}
	return n
}

// loaded is an API server of its own under load, which tells what it uses.
type loaded struct {
	apiSite
	unit string
}

func newLoaded(t *testing.T) loaded {
	t.Helper()
	s := loaded{newAPISite(t), "load.service"}
	s.socket = filepath.Join(s.root, "load.sock")
	s.must(t, "host", "shell", "systemd-run", "-q", "--unit=load", "--socket-property=ListenStream="+s.socket, "--socket-property=Accept=no",
		"-p", "TasksMax=infinity", filepath.Join(env.bin, "cleat-apid"), "-root", s.root, "-debug", "-idle", "-1s")
	s.client = &http.Client{Transport: &http.Transport{DialContext: s.dial, DisableKeepAlives: true}}
	return s
}

// consumption is what processes of a host use.
type consumption struct {
	goroutines, files int // of the server
	broker, systemd   int // their files
}

func (s loaded) usage(t *testing.T) consumption {
	t.Helper()
	code, answer := s.call(t, "GET", "/debug/vars", "")
	var vars struct{ Goroutines int }
	if err := json.Unmarshal([]byte(answer), &vars); err != nil || code != http.StatusOK {
		t.Fatalf("debug: %d %s, %v", code, answer, err)
	}
	fields := strings.Fields(s.must(t, "host", "shell", "sh", "-c", "for u in "+s.unit+` cleat-stdiod.service; do
		ls /proc/$(systemctl show -p MainPID --value $u)/fd | wc -l; done; ls /proc/1/fd | wc -l`))
	if len(fields) != 3 {
		t.Fatalf("files: %q", fields)
	}
	u := consumption{goroutines: vars.Goroutines}
	for i, to := range []*int{&u.files, &u.broker, &u.systemd} {
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			t.Fatal(err)
		}
		*to = n
	}
	return u
}

// rests waits until the server is as it was before.
func (s loaded) rests(t *testing.T, before consumption) {
	t.Helper()
	var now consumption
	defer func() { t.Logf("before %+v, after %+v, peak %d KiB", before, now, s.peak(t)) }()
	defer func() {
		if t.Failed() {
			_, answer := s.call(t, "GET", "/debug/vars", "")
			t.Log(strings.ReplaceAll(answer, `\n`, "\n"))
		}
	}()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		now = s.usage(t)
		if now.goroutines <= before.goroutines+loadGoroutines && now.files <= before.files+loadFiles &&
			now.broker <= before.broker+loadFiles && now.systemd <= before.systemd+loadFiles {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("after the load the server has %+v, before it had %+v", now, before)
			break
		}
	}
	if peak := s.peak(t); peak > loadPeakKiB {
		t.Errorf("the server took %d KiB, want no more than %d", peak, loadPeakKiB)
	}
}

// peak returns the most memory that the server has had, in KiB.
func (s loaded) peak(t *testing.T) int {
	t.Helper()
	out := s.must(t, "host", "shell", "sh", "-c", "grep VmHWM /proc/$(systemctl show -p MainPID --value "+s.unit+")/status")
	n, err := strconv.Atoi(strings.Fields(out)[1])
	if err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return n
}

// client is one of many: with a connection of its own.
func (s loaded) newClient() apiSite {
	c := s.apiSite
	c.client = &http.Client{Transport: &http.Transport{DialContext: s.dial, MaxIdleConnsPerHost: 2}}
	return c
}

// TestLoad has many clients at once create, start, follow and remove containers,
// while others do not read what they asked for: no request is lost, and nothing of
// them stays.
func TestLoad(t *testing.T) {
	t.Parallel()
	s := newLoaded(t)
	s.must(t, "run", "-d", "--name", "busy", "--network", "none", "busybox", "sh", "-c", "x=$(seq 300); while :; do echo $x; usleep 10000; done")
	before := s.usage(t)
	var stuck []net.Conn // clients that never read
	for i := range 10 {
		c, err := s.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		stuck = append(stuck, c)
		path := []string{"POST /containers/busy/attach?stream=1&stdout=1", "GET /containers/busy/logs?follow=1&stdout=1", "GET /events?since=0", "GET /containers/busy/stats"}[i%4]
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n", path)
	}
	var group sync.WaitGroup
	for i := range count(t, "CLEAT_TEST_CLIENTS", 200) {
		group.Go(func() {
			c := s.newClient()
			defer c.client.CloseIdleConnections()
			c.cycle(t, fmt.Sprintf("load%d", i))
		})
	}
	group.Wait()
	for _, c := range stuck {
		_ = c.Close() // nothing was written that matters
	}
	s.must(t, "rm", "-f", "busy")
	if r := s.try("ps", "-aq"); r.out != "" {
		t.Errorf("containers left: %v", r)
	}
	s.rests(t, before)
	if out := s.systemctl(t, "list-units", "--all", "--no-legend", "cleat-load*"); out != "" {
		t.Errorf("units left:\n%s", out)
	}
	s.clean(t)
}

// cycle leads a container through its life, and fails the test if one answer is
// not what it should be.
func (s apiSite) cycle(t *testing.T, name string) {
	expect := func(code int, method, path, body string) string {
		got, answer := s.call(t, method, "/v1.44"+path, body)
		if got != code {
			t.Errorf("%s %s: %d %s, want %d", method, path, got, answer, code)
		}
		return answer
	}
	expect(http.StatusCreated, "POST", "/containers/create?name="+name,
		`{"Image":"busybox","Cmd":["sh","-c","echo begin; echo `+name+`"],"Tty":true,"HostConfig":{"NetworkMode":"none"}}`)
	expect(http.StatusNoContent, "POST", "/containers/"+name+"/start", "")
	if got, want := expect(http.StatusOK, "GET", "/containers/"+name+"/logs?follow=1&stdout=1", ""), "begin\r\n"+name+"\r\n"; got != want {
		t.Errorf("logs of %s: %q, want %q", name, got, want)
	}
	if got := expect(http.StatusOK, "POST", "/containers/"+name+"/wait", ""); !strings.Contains(got, `"StatusCode":0`) {
		t.Errorf("wait for %s: %s", name, got)
	}
	expect(http.StatusNoContent, "DELETE", "/containers/"+name, "")
}

// TestLoadAttach attaches to containers and leaves them, very often.
func TestLoadAttach(t *testing.T) {
	t.Parallel()
	s := newLoaded(t)
	const workers = 4
	for i := range workers {
		s.must(t, "run", "-d", "-i", "--name", fmt.Sprint("echo", i), "--network", "none", "busybox", "sh", "-c", "while read l; do echo got $l; done")
	}
	s.attachOnce(t, "echo0", 0)
	before := s.usage(t)
	cycles := count(t, "CLEAT_TEST_ATTACHES", 1000)
	var group sync.WaitGroup
	for i := range workers {
		group.Go(func() {
			for n := range cycles / workers {
				if !s.attachOnce(t, fmt.Sprint("echo", i), n) {
					return
				}
			}
		})
	}
	group.Wait()
	s.rests(t, before)
	for i := range workers {
		s.must(t, "rm", "-f", fmt.Sprint("echo", i))
	}
	s.clean(t)
}

// attachOnce attaches, says something and hears the answer, and hangs up.
func (s apiSite) attachOnce(t *testing.T, name string, n int) bool {
	c, err := s.dial(t.Context(), "", "")
	if err != nil {
		t.Error(err)
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(60 * time.Second)) // an error shows in the next read
	fmt.Fprintf(c, "POST /containers/%s/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n", name)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("attach %d to %s: %v, %v", n, name, resp, err)
		return false
	}
	fmt.Fprintf(c, "%d\n", n)
	want := fmt.Sprintf("got %d\n", n)
	answer := make([]byte, 8+len(want)) // with the head of the frame
	if _, err := io.ReadFull(r, answer); err != nil || string(answer[8:]) != want {
		t.Errorf("attach %d to %s: %q, %v, want %q", n, name, answer, err, want)
		return false
	}
	return true
}

// TestAPIIsKilledUnderLoad kills the server again and again while clients work,
// which repeat what got no answer: nothing is lost and nothing is left.
func TestAPIIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	ctx, stop := context.WithCancel(t.Context())
	var group, killer sync.WaitGroup
	kills := 0
	killer.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
			s.server(t, "[ $p = 0 ] || kill -9 $p")
			kills++
		}
	})
	for i := range count(t, "CLEAT_TEST_STUBBORN", 8) {
		group.Go(func() {
			c := loaded{apiSite: s}.newClient()
			defer c.client.CloseIdleConnections()
			for n := range 2 {
				c.stubborn(t, fmt.Sprintf("stubborn%d-%d", i, n))
			}
		})
	}
	group.Wait()
	stop()
	killer.Wait()
	t.Logf("killed %d times", kills)
	s.steps(t, []step{{line: "ps -aq", out: ""}})
	s.must(t, "system", "check", "--repair") // removals that were killed when nothing was to be seen of their containers any more
	s.clean(t)
}

// stubborn leads a container through its life with a server that may die at any
// moment.
func (s apiSite) stubborn(t *testing.T, name string) {
	expect := func(method, path, body string, codes ...int) (int, string) {
		code, answer := s.insist(t, method, "/v1.44"+path, body)
		for _, want := range codes {
			if code == want {
				return code, answer
			}
		}
		t.Errorf("%s %s: %d %s, want %v", method, path, code, answer, codes)
		return code, answer
	}
	// The first of two requests may have been carried out: then the name is taken, it
	// runs, or it is gone.
	expect("POST", "/containers/create?name="+name, `{"Image":"busybox","Cmd":["sh","-c","echo `+name+`; exit 3"],"Tty":true,"HostConfig":{"NetworkMode":"none"}}`,
		http.StatusCreated, http.StatusConflict)
	expect("POST", "/containers/"+name+"/start", "", http.StatusNoContent, http.StatusNotModified)
	if _, got := expect("POST", "/containers/"+name+"/wait", "", http.StatusOK); !strings.Contains(got, `"StatusCode":3`) {
		t.Errorf("wait for %s: %s", name, got)
	}
	if _, got := expect("GET", "/containers/"+name+"/logs?stdout=1", "", http.StatusOK); !strings.HasPrefix(got, name+"\r\n") {
		t.Errorf("logs of %s: %q", name, got)
	}
	expect("DELETE", "/containers/"+name, "", http.StatusNoContent, http.StatusNotFound)
}

// insist makes a request until it is answered to its end.
func (s apiSite) insist(t *testing.T, method, path, body string) (int, string) {
	deadline := time.Now().Add(60 * time.Second)
	for {
		code, answer, err := s.ask(t, method, path, body)
		if err == nil {
			return code, answer
		}
		if time.Now().After(deadline) {
			t.Errorf("%s %s: %v", method, path, err)
			return 0, ""
		}
	}
}

// ask makes a request whose answer may fail to come, or to come whole.
func (s apiSite) ask(t *testing.T, method, path, body string) (int, string, error) {
	req, err := http.NewRequestWithContext(t.Context(), method, "http://d"+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && strings.HasSuffix(path, "/wait") && len(data) == 0 {
		err = io.ErrUnexpectedEOF
	}
	return resp.StatusCode, string(data), err
}
