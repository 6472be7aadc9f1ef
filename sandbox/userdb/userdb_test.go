package userdb_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/sandbox/userdb"
	"github.com/cleat-project/cleat/spec"
)

const passwd = `root:x:0:0:root:/root:/bin/sh
# a comment:x:1:1::/:/bin/sh
web:x:1000:1001:Web:/home/web:/bin/sh
1000:x:5:5:a name that is a number:/five:/bin/sh
broken:x:abc:0::/:/bin/sh
toobig:x:4294967296:0::/:/bin/sh
short:x:7
minimal:x:8:9
web:x:2000:2000:the first entry counts:/second:/bin/sh
`

const group = `root:x:0:root
web:x:1001:
audio:x:29:web,other
video:x:44:other,web
44:x:99:a name that is a number
bad:x:-3:web
`

func TestResolve(t *testing.T) {
	files := userdb.Files{Passwd: []byte(passwd), Group: []byte(group)}
	tests := map[string]struct {
		user  string
		extra []string
		want  userdb.User
	}{
		"nobody is root":                {"", nil, userdb.User{Groups: []uint32{0}, Home: "/root"}},
		"a name":                        {"web", nil, userdb.User{UID: 1000, GID: 1001, Groups: []uint32{1001, 29, 44}, Home: "/home/web"}},
		"digits are a number":           {"1000", nil, userdb.User{UID: 1000, GID: 1001, Groups: []uint32{1001, 29, 44}, Home: "/home/web"}},
		"leading zeros":                 {"0001000", nil, userdb.User{UID: 1000, GID: 1001, Groups: []uint32{1001, 29, 44}, Home: "/home/web"}},
		"a number without an entry":     {"3000", nil, userdb.User{UID: 3000, Groups: []uint32{0}, Home: "/"}},
		"user and group":                {"web:audio", nil, userdb.User{UID: 1000, GID: 29, Groups: []uint32{29}, Home: "/home/web"}},
		"digits are a group's number":   {"web:44", nil, userdb.User{UID: 1000, GID: 44, Groups: []uint32{44}, Home: "/home/web"}},
		"a group alone":                 {":video", nil, userdb.User{GID: 44, Groups: []uint32{44}, Home: "/root"}},
		"an empty group is none":        {"web:", nil, userdb.User{UID: 1000, GID: 1001, Groups: []uint32{1001, 29, 44}, Home: "/home/web"}},
		"further groups, once each":     {"web", []string{"44", "audio", "7"}, userdb.User{UID: 1000, GID: 1001, Groups: []uint32{1001, 29, 44, 7}, Home: "/home/web"}},
		"an entry without home":         {"minimal", nil, userdb.User{UID: 8, GID: 9, Groups: []uint32{9}, Home: "/"}},
		"the largest number":            {"2147483647:2147483647", nil, userdb.User{UID: math.MaxInt32, GID: math.MaxInt32, Groups: []uint32{math.MaxInt32}, Home: "/"}},
		"a second colon is of the name": {"3000:44", nil, userdb.User{UID: 3000, GID: 44, Groups: []uint32{44}, Home: "/"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := files.Resolve(tt.user, tt.extra)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Resolve(%q) (-want +got):\n%s", tt.user, diff)
			}
		})
	}
}

// CVE-2024-40635, CVE-2026-30892: what is no user is refused, never root.
func TestResolveRefuses(t *testing.T) {
	files := userdb.Files{Passwd: []byte(passwd), Group: []byte(group)}
	for _, user := range []string{
		"0x0", "-1", "+0", "1e3", " ", " 0", "0 ", "0\n", "\x00", "٠", "nosuch", "broken", "toobig", "short", "# a comment",
		"2147483648", "4294967295", "4294967296", "18446744073709551616", "web:nosuch", "web:-3", "web:bad", "web:2147483648", "a:b:c", "web:44:5",
	} {
		if u, err := files.Resolve(user, nil); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("Resolve(%q) is %+v, %v", user, u, err)
		}
	}
	if u, err := files.Resolve("", []string{"nosuch"}); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("an unknown further group: %+v, %v", u, err)
	}
}

// Whatever the files and the string are, nobody becomes root unless they say so.
func FuzzResolve(f *testing.F) {
	f.Add("web", []byte(passwd), []byte(group))
	f.Add("0x0:44", []byte("x:::\n"), []byte(""))
	f.Fuzz(func(t *testing.T, user string, passwd, group []byte) {
		u, err := userdb.Files{Passwd: passwd, Group: group}.Resolve(user, nil)
		if err != nil {
			if !errors.Is(err, spec.ErrInvalid) {
				t.Errorf("error of another kind: %v", err)
			}
			return
		}
		if u.UID > math.MaxInt32 || u.GID > math.MaxInt32 || len(u.Groups) == 0 || u.Groups[0] != u.GID {
			t.Errorf("Resolve(%q) is %+v", user, u)
		}
		slices.Sort(u.Groups)
		if len(slices.Compact(slices.Clone(u.Groups))) != len(u.Groups) || u.Home == "" || u.Home[0] != '/' {
			t.Errorf("Resolve(%q) is %+v", user, u)
		}
	})
}
