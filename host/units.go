package host

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/cleat-project/cleat/packaging/units"
)

// ownFiles make a bare system of the host: the targets that other units refer to,
// the journal, an end, and the configuration of its bus.
//
//go:embed units dbus
var ownFiles embed.FS

// systemConf is the host's system.conf(5). The machine's own is not read.
const systemConf = `[Manager]
ShowStatus=no
StatusUnitFormat=name
DefaultTimeoutStopSec=10s
DefaultLimitNOFILE=1024:524288
`

// journaldConf is the host's journald.conf(5). Its "volatile" journal lies on
// the disk, see mountJournal. It must hold the output of chatty containers, so
// its limits are wide and the rates unlimited, and nothing of it leaves the host:
// no kernel messages, audit settings, syslog, console or wall.
const journaldConf = `[Journal]
Storage=volatile
RuntimeMaxUse=4G
RuntimeKeepFree=256M
RuntimeMaxFileSize=128M
RateLimitIntervalSec=0
RateLimitBurst=0
ReadKMsg=no
Audit=
ForwardToSyslog=no
ForwardToKMsg=no
ForwardToConsole=no
ForwardToWall=no
`

// writeUnits writes the host's units where systemd looks for them last.
func writeUnits(p bootPlan) error {
	for _, set := range []struct {
		files    fs.FS
		from, to string
	}{
		{ownFiles, "units", ownUnits},
		{ownFiles, "dbus", busDir},
		{units.FS, ".", ownUnits},
	} {
		if err := copyFiles(set.files, set.from, set.to, p); err != nil {
			return fmt.Errorf("write the host's units: %w", err)
		}
	}
	return os.Symlink("multi-user.target", filepath.Join(ownUnits, "default.target"))
}

func copyFiles(files fs.FS, from, to string, p bootPlan) error {
	entries, err := fs.ReadDir(files, from)
	if err != nil {
		return err
	}
	fill := strings.NewReplacer("@SYSTEMD@", escape(p.Systemd), "@LIBEXEC@", escape(p.Libexec), "@ROOT@", escape(p.Root), "@RUNROOT@", escape(p.RunRoot))
	for _, e := range entries {
		text, err := fs.ReadFile(files, path.Join(from, e.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), []byte(fill.Replace(string(text))), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// escape makes a path fit for a unit file, where "%" begins a specifier, "$" a
// variable, and blanks separate words.
func escape(name string) string {
	return strings.NewReplacer("%", "%%", "$", "$$", `\`, `\\`, " ", `\x20`, `"`, `\x22`, `'`, `\x27`).Replace(name)
}

// writeConf writes the configuration of the host's systemd. As drop-ins they
// win over what the distribution has below /usr.
func writeConf(bootPlan) error {
	for name, text := range map[string]string{"system.conf": systemConf, "journald.conf": journaldConf} {
		dir := filepath.Join("/etc/systemd", name+".d")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "zz-cleat.conf"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
