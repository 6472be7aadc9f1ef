package opts

import (
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

// result is what a parser makes of one input.
type result[T any] struct {
	want T
	err  string // a part of the error; "" for none
}

// check runs a table of inputs through a parser.
func check[T any](t *testing.T, parse func(string) (T, error), tests map[string]result[T]) {
	t.Helper()
	for in, tt := range tests {
		got, err := parse(in)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("parse %q: error is %v, want one with %q", in, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("parse %q: %v", in, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("parse %q (-want +got):\n%s", in, diff)
		}
	}
}

func ok[T any](want T) result[T]           { return result[T]{want: want} }
func bad[T any](part string) result[T]     { return result[T]{err: part} }
func badMount(p string) result[spec.Mount] { return bad[spec.Mount](p) }

func TestVolume(t *testing.T) {
	t.Parallel()
	bind := func(m spec.Mount) result[spec.Mount] {
		m.Type, m.CreateSource = spec.MountBind, true
		return ok(m)
	}
	volume := func(m spec.Mount) result[spec.Mount] {
		m.Type = spec.MountVolume
		return ok(m)
	}
	check(t, VolumeParser("/here"), map[string]result[spec.Mount]{
		"/data":                  volume(spec.Mount{Target: "/data", Anonymous: true}),
		"/data/../x/":            volume(spec.Mount{Target: "/x", Anonymous: true}),
		"name:/data":             volume(spec.Mount{Source: "name", Target: "/data"}),
		"n.a_m-e9:/data:ro":      volume(spec.Mount{Source: "n.a_m-e9", Target: "/data", ReadOnly: true}),
		"name:/data:nocopy,ro":   volume(spec.Mount{Source: "name", Target: "/data", ReadOnly: true, NoCopy: true}),
		"/src:/dst":              bind(spec.Mount{Source: "/src", Target: "/dst"}),
		"/src//x/.:/dst:rw":      bind(spec.Mount{Source: "/src/x", Target: "/dst"}),
		"/src:/dst:ro,z,rshared": bind(spec.Mount{Source: "/src", Target: "/dst", ReadOnly: true, Propagation: "rshared"}),
		"/src:/dst:Z,delegated":  bind(spec.Mount{Source: "/src", Target: "/dst"}),
		".:/dst":                 bind(spec.Mount{Source: "/here", Target: "/dst"}),
		"./a:/dst":               bind(spec.Mount{Source: "/here/a", Target: "/dst"}),
		"../a:/dst":              bind(spec.Mount{Source: "/a", Target: "/dst"}),
		"/a:/b:U":                badMount("invalid mode: U"),
		"/a:/b:ro,rw":            badMount("invalid mode: ro,rw"),
		"/a:/b:":                 badMount("invalid volume specification"),
		"/a:/b:ro:x":             badMount("invalid volume specification"),
		":/b":                    badMount("invalid volume specification"),
		"/a:":                    badMount("invalid volume specification"),
		"":                       badMount("invalid volume specification"),
		"/data:ro":               badMount("invalid volume specification"),
		"relative":               badMount("mount path must be absolute"),
		"/a:b":                   badMount("mount path must be absolute"),
		"/a:/":                   badMount("destination can't be '/'"),
		"/a:/x/..":               badMount("destination can't be '/'"),
		"sub/dir:/x":             badMount("use absolute path"),
		"x:/y":                   badMount("too short"),
		"-name:/y":               badMount("use absolute path"),
		"/a:/b:nocopy":           badMount("nocopy is for volumes"),
		"name:/b:rslave":         badMount("propagation is for bind mounts"),
	})
}

func TestMount(t *testing.T) {
	t.Parallel()
	check(t, MountParser("/here"), map[string]result[spec.Mount]{
		"target=/x":                                               ok(spec.Mount{Type: spec.MountVolume, Target: "/x", Anonymous: true}),
		"source=vol,target=/x,volume-nocopy":                      ok(spec.Mount{Type: spec.MountVolume, Source: "vol", Target: "/x", NoCopy: true}),
		"type=volume,src=vol,dst=/x,volume-subpath=a/b":           ok(spec.Mount{Type: spec.MountVolume, Source: "vol", Target: "/x", Subpath: "a/b"}),
		"type=volume,src=vol,dst=/x,volume-driver=local,ro=false": ok(spec.Mount{Type: spec.MountVolume, Source: "vol", Target: "/x"}),
		"type=BIND,src=/a/,destination=/x,readonly":               ok(spec.Mount{Type: spec.MountBind, Source: "/a", Target: "/x", ReadOnly: true}),
		"type=bind,src=./a,dst=/x,bind-propagation=rslave":        ok(spec.Mount{Type: spec.MountBind, Source: "/here/a", Target: "/x", Propagation: "rslave"}),
		"type=bind,src=.,dst=/x,bind-nonrecursive=true":           ok(spec.Mount{Type: spec.MountBind, Source: "/here", Target: "/x", NonRecursive: true}),
		"type=bind,src=/a,dst=/x,bind-recursive=disabled":         ok(spec.Mount{Type: spec.MountBind, Source: "/a", Target: "/x", NonRecursive: true}),
		"type=bind,src=/a,dst=/x,consistency=cached":              ok(spec.Mount{Type: spec.MountBind, Source: "/a", Target: "/x"}),
		`type=volume,src=vol,dst=/x,volume-label=a=b,volume-label=c,"volume-opt=o=size=1,mode=7"`: ok(spec.Mount{
			Type: spec.MountVolume, Source: "vol", Target: "/x", VolumeLabels: map[string]string{"a": "b", "c": ""}, VolumeOptions: map[string]string{"o": "size=1,mode=7"},
		}),
		`type=bind,"src=/a,b",dst=/x`:                      ok(spec.Mount{Type: spec.MountBind, Source: "/a,b", Target: "/x"}),
		"type=tmpfs,dst=/x,tmpfs-size=64m,tmpfs-mode=0750": ok(spec.Mount{Type: spec.MountTmpfs, Target: "/x", TmpfsBytes: 64 << 20, TmpfsMode: 0o750}),

		"":                                                    badMount("EOF"),
		"type=bind,src=/a":                                    badMount("target is required"),
		"type=nfs,dst=/x":                                     badMount("mount type unknown"),
		"type=image,src=i,dst=/x":                             badMount("type 'image' are not supported"),
		"type=bind,dst=/x":                                    badMount("Source must not be empty"),
		"type=bind,src=a,dst=/x":                              badMount("must be absolute"),
		"type=tmpfs,src=a,dst=/x":                             badMount("Source must not be specified"),
		"type=bind,src=/a,dst=x":                              badMount("must be absolute"),
		"type=bind,src=/a,dst=/":                              badMount("destination can't be '/'"),
		"type=bind,foo=1":                                     badMount("unexpected key 'foo' in 'foo=1'"),
		"type=bind, src=/a,dst=/x":                            badMount("unexpected key ' src'"),
		"type=bind,foo,dst=/x":                                badMount("invalid field 'foo' must be a key=value pair"),
		"type=bind,src=/a,dst=/x,readonly=maybe":              badMount("invalid value for readonly: maybe"),
		"type=bind,src=/a,dst=/x,volume-nocopy":               badMount("cannot mix 'volume-*' options with mount type 'bind'"),
		"src=vol,dst=/x,bind-propagation=shared":              badMount("cannot mix 'bind-*' options with mount type 'volume'"),
		"src=vol,dst=/x,tmpfs-size=1m":                        badMount("cannot mix 'tmpfs-*' options with mount type 'volume'"),
		"type=bind,src=/a,dst=/x,bind-recursive=foo":          badMount("invalid value for bind-recursive"),
		"type=bind,src=/a,dst=/x,bind-recursive=readonly":     badMount("not supported"),
		"type=bind,src=/a,dst=/x,bind-propagation=odd":        badMount("invalid value for bind-propagation"),
		"type=volume,src=vol,dst=/x,volume-driver=nfs":        badMount("invalid value for volume-driver"),
		"type=volume,dst=/x,volume-opt=type=tmpfs":            badMount("give one with src=NAME"),
		"type=volume,src=vol,dst=/x,volume-opt==tmpfs":        badMount("it has the form KEY=VALUE"),
		"type=tmpfs,dst=/x,tmpfs-size=zz":                     badMount("invalid value for tmpfs-size: zz"),
		"type=tmpfs,dst=/x,tmpfs-mode=9":                      badMount("invalid value for tmpfs-mode: 9"),
		"type=volume,src=bad/name,dst=/x":                     badMount("use absolute path"),
		"type=bind,src=/a,dst=/x\ntype=bind,src=/b,dst=/etc2": badMount("line"),
	})
}

func TestTmpfs(t *testing.T) {
	t.Parallel()
	check(t, Tmpfs, map[string]result[spec.Mount]{
		"/x":                           ok(spec.Mount{Type: spec.MountTmpfs, Target: "/x"}),
		"/x:size=64m,mode=1770,ro":     ok(spec.Mount{Type: spec.MountTmpfs, Target: "/x", TmpfsBytes: 64 << 20, TmpfsMode: 0o1770, ReadOnly: true}),
		"/x:exec,uid=5,size=50%,nodev": ok(spec.Mount{Type: spec.MountTmpfs, Target: "/x", Options: []string{"exec", "uid=5", "size=50%", "nodev"}}),
		"x":                            badMount("must be absolute"),
		"/":                            badMount("destination can't be '/'"),
		"/x:upperdir=/etc":             badMount("invalid tmpfs option"),
		"/x:uid=":                      badMount("needs a value"),
		"/x:mode=rwx":                  badMount("invalid value for mode"),
	})
}

// FuzzVolume checks what everything behind the parser relies on.
func FuzzVolume(f *testing.F) {
	for _, s := range []string{"/a", "a:/b", "/a:/b:ro,z", "..:/x", "name:/x:nocopy", "/a:/b:c:d", "::", "\x00:/x"} {
		f.Add(s)
	}
	parse := VolumeParser("/here")
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := parse(s); err == nil {
			checkParsed(t, s, m)
		}
	})
}

// FuzzMount is FuzzVolume for --mount.
func FuzzMount(f *testing.F) {
	for _, s := range []string{"dst=/x", "type=bind,src=/a,dst=/x", `"a""b",dst=/x`, "type=tmpfs,dst=/x,tmpfs-size=1g", "type=bind,src=..,dst=/x/../y,ro"} {
		f.Add(s)
	}
	parse := MountParser("/here")
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := parse(s); err == nil {
			checkParsed(t, s, m)
		}
	})
}

func checkParsed(t *testing.T, in string, m spec.Mount) {
	t.Helper()
	if !path.IsAbs(m.Target) || m.Target != path.Clean(m.Target) || m.Target == "/" {
		t.Errorf("%q: target %q is not a clean absolute path below /", in, m.Target)
	}
	switch m.Type {
	case spec.MountBind:
		if !path.IsAbs(m.Source) || m.NoCopy || m.Anonymous || m.Subpath != "" {
			t.Errorf("%q: bind mount %+v", in, m)
		}
	case spec.MountVolume:
		if m.Anonymous != (m.Source == "") || strings.ContainsAny(m.Source, "/\x00") || m.Propagation != "" || m.CreateSource {
			t.Errorf("%q: volume %+v", in, m)
		}
	case spec.MountTmpfs:
		if m.Source != "" {
			t.Errorf("%q: tmpfs with source %q", in, m.Source)
		}
	default:
		t.Errorf("%q: type %q", in, m.Type)
	}
}
