package quadlet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Setting is one flag of the verb that makes an object, with the line that asks
// for it.
type Setting struct {
	Flag, Value string
	From        Entry
}

// Object is what a file describes, in the words of cleat's verbs: "create",
// "volume create", "network create", "pull" and "build".
type Object struct {
	File     *File
	Name     string    // of the container, volume or network; the reference of an image, also of one that is built
	Settings []Setting // flags
	Args     []string  // of a container: the words of its command; of a build: its context

	// Image that a container is made of.
	Image string

	// References are the settings that name images, with their values.
	References []Entry

	// PullAlways and PullNever say of an image whether its registry is asked although
	// it is there, or not asked at all.
	PullAlways, PullNever bool

	needs []string // the units of other files that have to be started before
}

// Set is the files of a machine, by their names.
type Set map[string]*File

// Object returns what f describes. Set has the files that it may refer to. The
// error joins a *Problem for each thing that is wrong.
func (s Set) Object(f *File) (*Object, error) {
	b := &builder{set: s, o: &Object{File: f}, single: map[string]Entry{}}
	b.sections()
	b.read()
	b.name()
	if f.Kind == KindContainer {
		b.container()
	}
	if len(b.problems) > 0 {
		return nil, errors.Join(b.problems...)
	}
	return b.o, nil
}

// Digest changes when the description of the object does.
func (s Set) Digest(o *Object) string {
	h := sha256.New()
	add := func(f *File) {
		for _, text := range f.text {
			fmt.Fprintf(h, "%d\n%s", len(text), text)
		}
	}
	add(o.File)
	for _, unit := range o.needs {
		for _, f := range s {
			if f.Unit() == unit {
				add(f)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// builder turns the entries of a file into an Object.
type builder struct {
	set      Set
	o        *Object
	single   map[string]Entry // keys of which the last one counts
	problems []error
}

func (b *builder) fail(err error) { b.problems = append(b.problems, err) }

// sections refuses sections that mean nothing.
func (b *builder) sections() {
	f := b.o.File
	known := []string{"Unit", "Service", "Install", "Quadlet", f.Kind.section()}
	if f.sections[f.Kind.section()] == nil && f.Kind != KindVolume && f.Kind != KindNetwork {
		b.fail(&Problem{f.Path, 0, fmt.Sprintf("there is no section [%s]", f.Kind.section())})
	}
	for name, entries := range f.sections {
		if slices.Contains(known, name) || strings.HasPrefix(name, "X-") {
			continue
		}
		p := &Problem{f.Path, 0, fmt.Sprintf("the section [%s] means nothing in a .%s", name, f.Kind)}
		if len(entries) > 0 {
			p.Path, p.Line = entries[0].Path, entries[0].Line
		}
		b.fail(p)
	}
	b.checkService(f.sections["Service"])
	for _, e := range f.sections["Install"] {
		if !slices.Contains([]string{"WantedBy", "RequiredBy", "UpheldBy", "Alias"}, e.Key) {
			b.fail(e.Problem("%s= is not supported in [Install]: WantedBy=, RequiredBy=, UpheldBy= and Alias= are", e.Key))
		}
	}
	for _, e := range f.sections["Quadlet"] {
		if e.Key != "DefaultDependencies" {
			b.fail(e.Problem("%s= is not known in [Quadlet]", e.Key))
		} else if _, err := parseBool(e.Value); err != nil {
			b.fail(e.Problem("DefaultDependencies=: %v", err))
		}
	}
}

// ownService are the settings of [Service] that are cleat's, with the reason.
var ownService = map[string]string{
	"ExecStart": "cleat starts the container: its command is Exec=", "ExecStopPost": "cleat records the end there: use ExecStop= or a unit with PartOf=",
	"Type": "cleat tells systemd itself when the container runs: see Notify=", "NotifyAccess": "the container does not speak to systemd: see Notify=",
	"KillMode": "the payload is told to stop, then the rest is killed", "PIDFile": "cleat tells systemd the process", "BusName": "the container is not on the bus",
	"User": "the user in the container is User= of [Container]", "Group": "the group in the container is Group= of [Container]", "DynamicUser": "the user in the container is User= of [Container]",
	"Slice": "containers lie in cleat.slice", "RootDirectory": "the root is the image", "RootImage": "the root is the image",
	"RemainAfterExit": "a container that has ended has ended", "Delegate": "a container's control groups are its own anyway",
}

func (b *builder) checkService(entries []Entry) {
	for _, e := range entries {
		if why := ownService[e.Key]; why != "" && b.o.File.Kind == KindContainer {
			b.fail(e.Problem("%s= cannot be set in [Service]: %s", e.Key, why))
		} else if b.o.File.Kind != KindContainer && (e.Key == "ExecStart" || e.Key == "Type" || e.Key == "RemainAfterExit") {
			b.fail(e.Problem("%s= cannot be set in [Service]: cleat makes the %s there", e.Key, b.o.File.Kind))
		}
	}
}

// read goes through the section of the object.
func (b *builder) read() {
	keys := keysOf[b.o.File.Kind]
	for _, e := range b.o.File.sections[b.o.File.Kind.section()] {
		value, err := b.expand(e)
		if err != nil {
			b.fail(err)
			continue
		}
		e.Value = value
		k, known := keys[e.Key]
		switch {
		case !known:
			b.fail(e.Problem("%s= is not known in [%s]", e.Key, b.o.File.Kind.section()))
		case k.refused != "":
			b.fail(e.Problem("%s= is not supported: %s", e.Key, k.refused))
		case k.flag == "" || k.last:
			b.single[e.Key] = e
		case e.Value == "": // an empty value empties the list
			b.o.Settings = slices.DeleteFunc(b.o.Settings, func(s Setting) bool { return s.From.Key == e.Key })
		default:
			b.list(k, e)
		}
	}
	for _, key := range sortedKeys(b.single) {
		if k, e := keys[key], b.single[key]; k.flag != "" && e.Value != "" {
			b.list(k, e)
		}
	}
}

// list adds the flags that an entry stands for.
func (b *builder) list(k key, e Entry) {
	values := []string{e.Value}
	var err error
	if k.words {
		if values, err = splitWords(e.Value); err != nil {
			b.fail(e.Problem("%s=: %v", e.Key, err))
		}
	}
	for _, v := range values {
		if k.bool {
			on, err := parseBool(v)
			if err != nil {
				b.fail(e.Problem("%s=: %v", e.Key, err))
			}
			v = strconv.FormatBool(on)
		}
		if k.convert != nil {
			if v, err = k.convert(b, v); err != nil {
				b.fail(e.Problem("%s=: %v", e.Key, err))
				continue
			}
		}
		if v != "" {
			b.o.Settings = append(b.o.Settings, Setting{k.flag, v, e})
		}
	}
}

// name settles what the object is called: like its file, with Podman's prefix.
func (b *builder) name() {
	f := b.o.File
	b.o.Name = "systemd-" + f.Base
	for _, key := range []string{"ContainerName", "VolumeName", "NetworkName", "Image"} {
		if e := b.single[key]; e.Value != "" && (key != "Image" || f.Kind == KindImage) {
			b.o.Name = e.Value
		}
	}
	switch f.Kind {
	case KindImage:
		b.image()
	case KindBuild:
		b.build()
	}
}

// image settles how an image is pulled.
func (b *builder) image() {
	if b.single["Image"].Value == "" {
		b.fail(&Problem{b.o.File.Path, 0, "there is no Image="})
	}
	policy := b.single["Policy"]
	b.o.References = append(b.o.References, b.single["Image"])
	if os := b.single["OS"]; os.Value != "" && os.Value != "linux" {
		b.fail(os.Problem("OS=: images are for linux"))
	}
	b.platform()
	switch policy.Value {
	case "", "missing", "never":
	case "always", "newer":
		b.o.PullAlways = true
	default:
		b.fail(policy.Problem("Policy=: %q is not one of always, missing, never and newer", policy.Value))
	}
	b.o.PullNever = policy.Value == "never"
}

// container settles what a container runs.
func (b *builder) container() {
	f := b.o.File
	image := b.single["Image"]
	switch {
	case image.Value == "":
		b.fail(&Problem{f.Path, 0, "there is no Image="})
	case strings.HasSuffix(image.Value, ".image") || strings.HasSuffix(image.Value, ".build"):
		name, err := b.refer(image.Value)
		if err != nil {
			b.fail(image.Problem("Image=: %v", err))
		}
		image.Value = name
	}
	b.o.Image = image.Value
	b.o.References = append(b.o.References, image)
	command := b.words("Exec")
	if e := b.single["Entrypoint"]; e.Value != "" {
		words := b.words("Entrypoint")
		if strings.HasPrefix(e.Value, "[") {
			words = nil
			if err := json.Unmarshal([]byte(e.Value), &words); err != nil {
				b.fail(e.Problem("Entrypoint= is no list of words in JSON"))
			}
		}
		if len(words) > 0 {
			b.o.Settings = append(b.o.Settings, Setting{"entrypoint", words[0], e})
			command = append(words[1:], command...)
		}
	}
	b.o.Args = command
	b.user()
	b.readOnly()
}

func (b *builder) words(key string) []string {
	e := b.single[key]
	words, err := splitWords(e.Value)
	if err != nil {
		b.fail(e.Problem("%s=: %v", key, err))
	}
	for i, w := range words {
		words[i] = strings.ReplaceAll(w, "$$", "$") // in a unit, a single one would begin a variable
	}
	return words
}

// user joins User= and Group=.
func (b *builder) user() {
	user, group := b.single["User"], b.single["Group"]
	switch {
	case user.Value == "" && group.Value != "":
		b.fail(group.Problem("Group= needs User="))
	case group.Value != "":
		b.o.Settings = append(b.o.Settings, Setting{"user", user.Value + ":" + group.Value, group})
	case user.Value != "":
		b.o.Settings = append(b.o.Settings, Setting{"user", user.Value, user})
	}
}

// readOnly makes the places writable that Podman makes so with ReadOnly=.
func (b *builder) readOnly() {
	on, err := parseBool(b.single["ReadOnly"].Value)
	writable := true
	if e := b.single["ReadOnlyTmpfs"]; e.Value != "" {
		var tmpErr error
		if writable, tmpErr = parseBool(e.Value); tmpErr != nil {
			b.fail(e.Problem("ReadOnlyTmpfs=: %v", tmpErr))
		}
	}
	if err != nil || !on || !writable {
		return // what is wrong has been said by list
	}
	for _, dir := range []string{"/run", "/tmp", "/var/tmp"} {
		b.o.Settings = append(b.o.Settings, Setting{"tmpfs", dir, b.single["ReadOnly"]})
	}
}

// refer returns the name of what another file describes, and notes that it has to
// be there before.
func (b *builder) refer(file string) (string, error) {
	f := b.set[file]
	if f == nil {
		return "", fmt.Errorf("there is no file %s beside %s", file, filepath.Base(b.o.File.Path))
	}
	other := &builder{set: b.set, o: &Object{File: f}, single: map[string]Entry{}}
	for _, e := range f.sections[f.Kind.section()] {
		if value, err := other.expand(e); err == nil {
			e.Value = value
			other.single[e.Key] = e
		}
	}
	other.name()
	if !slices.Contains(b.o.needs, f.Unit()) {
		b.o.needs = append(b.o.needs, f.Unit())
	}
	return other.o.Name, nil
}

// expand replaces the specifiers of systemd.unit(5) that are known before the unit
// is.
func (b *builder) expand(e Entry) (string, error) {
	host, _ := os.Hostname() // "" is what systemd would say
	known := map[byte]string{
		'%': "%", 'n': b.o.File.Unit(), 'N': strings.TrimSuffix(b.o.File.Unit(), ".service"), 'p': strings.TrimSuffix(b.o.File.Unit(), ".service"),
		't': "/run", 'S': "/var/lib", 'C': "/var/cache", 'L': "/var/log", 'E': "/etc", 'T': "/tmp", 'V': "/var/tmp", 'h': "/root", 'u': "root", 'U': "0",
		'H': host, 'l': strings.SplitN(host, ".", 2)[0],
	}
	var out strings.Builder
	for i := 0; i < len(e.Value); i++ {
		if e.Value[i] != '%' {
			out.WriteByte(e.Value[i])
			continue
		}
		if i++; i == len(e.Value) {
			return "", e.Problem("%s=: a single %% at the end: write %%%% for a percent sign", e.Key)
		}
		text, ok := known[e.Value[i]]
		if !ok {
			return "", e.Problem("%s=: the specifier %%%c is not supported; write %%%% for a percent sign", e.Key, e.Value[i])
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

// parseBool reads systemd's words for yes and no.
func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "1", "yes", "y", "true", "t", "on":
		return true, nil
	case "0", "no", "n", "false", "f", "off", "":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no", s)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
