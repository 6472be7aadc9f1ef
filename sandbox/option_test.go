package sandbox

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

func TestParseOptions(t *testing.T) {
	tests := map[string]struct {
		fsType, options string
		want            mountOptions
	}{
		"a filesystem": {"tmpfs", "nosuid,strictatime,mode=755,size=65536k", mountOptions{
			set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_STRICTATIME, clear: unix.MOUNT_ATTR__ATIME, data: []string{"mode=755", "size=65536k"}}},
		"the last of two counts": {"tmpfs", "noexec,exec,ro,rw,nosuid", mountOptions{
			set: unix.MOUNT_ATTR_NOSUID, clear: unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_RDONLY}},
		"a bind mount takes the host's later mounts": {"bind", "rbind", mountOptions{bind: true, recursive: true, propagation: unix.MS_SLAVE, propagationAll: true}},
		"bind by option": {"none", "bind,private", mountOptions{bind: true, propagation: unix.MS_PRIVATE}},
		"a read-only tree is so all the way": {"bind", "rbind,ro,rprivate", mountOptions{bind: true, recursive: true,
			set: unix.MOUNT_ATTR_RDONLY, setAll: unix.MOUNT_ATTR_RDONLY, propagation: unix.MS_PRIVATE, propagationAll: true}},
		"recursive attributes": {"bind", "bind,rro,rnosuid,rslave", mountOptions{bind: true,
			setAll: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID, propagation: unix.MS_SLAVE, propagationAll: true}},
		"what is so anyway": {"tmpfs", "defaults,async,norelatime", mountOptions{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseOptions(tt.fsType, strings.Split(tt.options, ","))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(mountOptions{})); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.options, diff)
			}
		})
	}
}

func TestParseOptionsRefuses(t *testing.T) {
	for _, opt := range []string{"remount", "idmap", "ridmap", "tmpcopyup"} {
		if _, err := parseOptions("tmpfs", []string{opt}); !errors.Is(err, spec.ErrUnsupport) {
			t.Errorf("%s: %v", opt, err)
		}
	}
	if _, err := parseOptions("bind", []string{"rbind", "size=1m"}); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("an option of a filesystem on a bind mount: %v", err)
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add("bind", "rbind,ro,rprivate")
	f.Add("tmpfs", "mode=1777,rro,ratime")
	f.Fuzz(func(t *testing.T, fsType, options string) {
		o, err := parseOptions(fsType, strings.Split(options, ","))
		if err != nil {
			return
		}
		if o.set&o.clear&^unix.MOUNT_ATTR__ATIME != 0 || o.setAll&o.clearAll&^unix.MOUNT_ATTR__ATIME&^unix.MOUNT_ATTR_RDONLY != 0 {
			t.Errorf("%q sets and clears the same: %+v", options, o)
		}
		if o.bind && o.propagation == 0 {
			t.Errorf("%q leaves the propagation to chance", options)
		}
	})
}
