package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/build"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/internal/buildflags"
	"github.com/cleat-project/cleat/spec"
)

func flagsOf(t *testing.T, args ...string) *buildflags.Flags {
	t.Helper()
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	f := buildflags.Define(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f
}

// read does what the functions for single flags do.
func read(f *buildflags.Flags) (build.Options, error) {
	var opt build.Options
	for _, r := range []func(*build.Options, *buildflags.Flags) error{readPairs, readNetwork, readSecrets, readSSH, readCaches, readLimits, readEpoch} {
		if err := r(&opt, f); err != nil {
			return opt, err
		}
	}
	return opt, nil
}

func TestOptions(t *testing.T) {
	t.Setenv("FROM_ENV", "e")
	got, err := read(flagsOf(t, "--build-arg", "A=b=c", "--build-arg", "FROM_ENV", "--build-arg", "UNSET_IN_TESTS", "--label", "l=1", "--label", "bare",
		"--add-host", "h:127.0.0.1", "--add-host", "six=[::1]", "--network", "none", "--secret", "id=s,env=FROM_ENV", "--build-context", "b=docker-image://x",
		"-m", "64m", "--memory-swap", "96m", "--cpu-quota", "50000", "-c", "512", "--cpuset-cpus", "0", "--shm-size", "1g", "--cache-from", "h/x:cache", "--cache-from", "type=local,src=d,tag=t", "--cache-to", "type=registry,ref=h/x:cache,mode=max,ignore-error=true", "--ulimit", "nofile=1:2", "--build-arg", "SOURCE_DATE_EPOCH=5"))
	want := build.Options{
		Args: map[string]string{"A": "b=c", "FROM_ENV": "e", "SOURCE_DATE_EPOCH": "5"}, Labels: map[string]string{"l": "1", "bare": ""},
		Hosts: []string{"h:127.0.0.1", "six:::1"}, Network: "none", SSH: map[string]string{}, Secrets: map[string][]byte{"s": []byte("e")}, Contexts: map[string]string{"b": "docker-image://x"},
		Limits: spec.Limits{MemoryBytes: 64 << 20, SwapBytes: 32 << 20, CPUMillis: 500, CPUShares: 512, CPUSet: "0"}, ShmBytes: 1 << 30,
		CacheFrom: []engine.CacheStore{{Registry: "h/x:cache"}, {Dir: "d", Tag: "t"}}, CacheTo: []build.CacheTarget{{CacheStore: engine.CacheStore{Registry: "h/x:cache"}, All: true, IgnoreError: true}},
		Ulimits: []spec.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}}, Epoch: new(time.Unix(5, 0).UTC()),
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestBadOptions(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	for _, arg := range []string{
		"--build-arg==x", "--label==x", "--add-host=nope", "--add-host=h:nowhere", "--allow=security.insecure", "--build-context=x", "--build-context=x=s3://h",
		"--secret=src=x", "--secret=id=../x,src=y", "--secret=id=x,src=/nonexistent", "--memory=much", "--cache-from=type=gha", "--cache-from=type=local", "--cache-to=type=local,src=x", "--cache-to=type=registry", "--cache-to=UPPER:y", "--cache-to=type=local,dest=x,mode=some", "--cache-from=type=local,src=x,mode=max", "--memory-swap=1g", "--cpu-period=5", "--ssh=default", "--ssh=a/b=/x", "--ssh=x=/dev/null", "--ulimit=x", "--build-arg=SOURCE_DATE_EPOCH=now", "--tag=UPPER:x",
	} {
		if _, err := read(flagsOf(t, arg)); err == nil || !strings.Contains(err.Error(), strings.TrimLeft(strings.SplitN(arg, "=", 2)[0], "-")) && !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

func TestOutputs(t *testing.T) {
	for value, want := range map[string]output{
		"": {kind: "image"}, "dir": {kind: "local", dest: "dir"}, "-": {kind: "tar", dest: "-"}, "type=local,dest=d": {kind: "local", dest: "d"}, "type=tar,dest=f": {kind: "tar", dest: "f"},
		"type=oci,dest=f": {kind: "oci", dest: "f"}, "type=docker": {kind: "docker"}, "type=image": {kind: "image"}, "type=registry,name=x": {kind: "image", name: "x", push: true}, "type=image,push=true": {kind: "image", push: true},
	} {
		f := &buildflags.Flags{}
		if value != "" {
			f.Outputs = []string{value}
		}
		if got, err := outputOf(f); err != nil || got != want {
			t.Errorf("%q: %+v %v", value, got, err)
		}
	}
	for _, value := range []string{"type=local,push=true,dest=x", "type=image,push=perhaps", "type=local", "type=local,dest=-", "type=image,dest=x", "type=tar,dest=x,push=true", "type=oci"} {
		if _, err := outputOf(&buildflags.Flags{Outputs: []string{value}}); err == nil {
			t.Errorf("%q was taken", value)
		}
	}
}
