package main

import (
	"strings"
	"testing"
)

// reference are the verbs and flags that Docker's reference of "docker compose" has.
// Every one of them is taken, or refused by name.
var reference = map[string]string{
	"":        "all-resources ansi compatibility dry-run env-file f,file parallel profile progress project-directory p,project-name",
	"attach":  "detach-keys index no-stdin sig-proxy",
	"build":   "build-arg builder check m,memory no-cache print provenance pull push q,quiet sbom ssh with-dependencies",
	"commit":  "a,author c,change index m,message p,pause",
	"config":  "environment format hash images lock-image-digests models networks no-consistency no-env-resolution no-interpolate no-normalize no-path-resolution o,output profiles q,quiet resolve-image-digests services variables volumes",
	"cp":      "all a,archive L,follow-link index",
	"create":  "build force-recreate no-build no-recreate pull quiet-pull remove-orphans scale y,yes",
	"down":    "remove-orphans rmi t,timeout v,volumes",
	"events":  "json since until",
	"exec":    "d,detach e,env index T,no-tty privileged u,user w,workdir",
	"export":  "index o,output",
	"images":  "format q,quiet",
	"kill":    "remove-orphans s,signal",
	"logs":    "f,follow index no-color no-log-prefix since n,tail t,timestamps until",
	"ls":      "a,all filter format q,quiet",
	"pause":   "",
	"port":    "index protocol",
	"ps":      "a,all filter format no-trunc orphans q,quiet services status",
	"pull":    "ignore-buildable ignore-pull-failures include-deps policy q,quiet",
	"push":    "ignore-push-failures include-deps q,quiet",
	"restart": "no-deps t,timeout",
	"rm":      "f,force s,stop v,volumes",
	"run":     "build cap-add cap-drop d,detach entrypoint e,env env-from-file i,interactive l,label name T,no-TTY no-deps p,publish pull q,quiet quiet-build quiet-pull remove-orphans rm P,service-ports use-aliases u,user v,volume w,workdir",
	"scale":   "no-deps",
	"start":   "wait wait-timeout",
	"stats":   "a,all format no-stream no-trunc",
	"stop":    "t,timeout",
	"top":     "",
	"unpause": "",
	"up":      "abort-on-container-exit abort-on-container-failure always-recreate-deps attach attach-dependencies build d,detach exit-code-from force-recreate menu no-attach no-build no-color no-deps no-log-prefix no-recreate no-start pull quiet-build quiet-pull remove-orphans V,renew-anon-volumes scale t,timeout timestamps wait wait-timeout w,watch y,yes",
	"version": "f,format short",
	"volumes": "format q,quiet",
	"wait":    "down-project",
	"watch":   "no-up prune quiet",
	"publish": "-",
	"bridge":  "-",
	"alpha":   "-",
}

func TestReference(t *testing.T) {
	for verb, flags := range reference {
		root := newRoot(&cli{})
		cmd, _, err := root.Find(strings.Fields(verb))
		if flags == "-" {
			if _, refused := refusedVerbs[verb]; !refused {
				t.Errorf("compose %s is not refused by name", verb)
			}
			continue
		}
		if err != nil || verb != "" && cmd == root {
			t.Errorf("there is no compose %s", verb)
			continue
		}
		for _, flag := range strings.Fields(flags) {
			short, long, both := strings.Cut(flag, ",")
			if !both {
				short, long = "", flag
			}
			f := cmd.Flags().Lookup(long)
			if f == nil {
				f = cmd.PersistentFlags().Lookup(long)
			}
			switch {
			case f == nil:
				t.Errorf("compose %s: no --%s", verb, long)
			case f.Shorthand != short:
				t.Errorf("compose %s: --%s has the short form %q, want %q", verb, long, f.Shorthand, short)
			}
		}
	}
}
