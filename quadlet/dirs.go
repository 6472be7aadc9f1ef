package quadlet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// podmanGenerators are where Podman's own generator is, if it is installed. Then
// the files in its directories are its own.
var podmanGenerators = []string{
	"/usr/lib/systemd/system-generators/podman-system-generator", "/lib/systemd/system-generators/podman-system-generator",
	"/etc/systemd/system-generators/podman-system-generator",
}

// Directories returns where files are looked for, the most important first: of two
// files of one name the first counts.
func Directories() []string {
	dirs := []string{"/run/cleat/quadlets", "/etc/cleat", "/usr/share/cleat"}
	if !slices.ContainsFunc(podmanGenerators, exists) {
		dirs = append(dirs, "/run/containers/systemd", "/etc/containers/systemd", "/usr/share/containers/systemd")
	}
	return dirs
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// ReadDirs reads all files in dirs and below. The error joins what is wrong with
// files that are not in the result.
func ReadDirs(dirs []string) (Set, error) {
	set := Set{}
	var problems []error
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if d.IsDir() || !isQuadlet(d.Name()) || set[d.Name()] != nil {
				return nil
			}
			f, err := ReadFile(path, dirs)
			if err != nil {
				problems = append(problems, err)
				return nil
			}
			set[d.Name()] = f
			return nil
		})
		if err != nil {
			problems = append(problems, fmt.Errorf("read %s: %w", dir, err))
		}
	}
	return set, errors.Join(problems...)
}

// isQuadlet reports whether a file of that name is one of Podman's, also if it is of
// a kind that is refused.
func isQuadlet(name string) bool {
	return slices.Contains([]string{".container", ".volume", ".network", ".image", ".build", ".pod", ".kube"}, filepath.Ext(name))
}

// ReadFile reads one file with its drop-ins: NAME.d/*.conf beside it, and in dirs.
func ReadFile(path string, dirs []string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := Parse(path, string(data))
	if err != nil {
		return nil, err
	}
	return f, f.addDropIns(append([]string{filepath.Dir(path)}, dirs...))
}

func (f *File) addDropIns(dirs []string) error {
	found := map[string]string{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(filepath.Join(dir, filepath.Base(f.Path)+".d"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".conf") && found[e.Name()] == "" {
				found[e.Name()] = filepath.Join(dir, filepath.Base(f.Path)+".d", e.Name())
			}
		}
	}
	var problems []error
	for _, name := range sortedKeys(found) {
		data, err := os.ReadFile(found[name])
		if err == nil {
			err = f.add(found[name], string(data))
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}
