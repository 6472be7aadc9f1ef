package quadlet

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// buildKeys has the keys of [Build], which become flags of "cleat build".
func buildKeys() map[string]key {
	return map[string]key{
		"ImageTag": {flag: "tag", convert: imageTag}, "File": {}, "SetWorkingDirectory": {}, "Arch": {}, "Variant": {},
		"BuildArg": {flag: "build-arg", words: true, convert: assignment}, "Label": {flag: "label", words: true}, "Target": {flag: "target", last: true},
		"Network": {flag: "network", last: true, convert: buildNetwork}, "Pull": {flag: "pull", last: true, convert: buildPull},
		"Secret": {flag: "secret", convert: buildSecret}, "ForceRM": {flag: "force-rm", bool: true, last: true},

		"Annotation": {refused: "images have labels alone: write Label="}, "DNS": {refused: "steps ask whom this machine asks"},
		"DNSOption": {refused: "steps ask whom this machine asks"}, "DNSSearch": {refused: "steps ask whom this machine asks"},
		"Environment": {refused: "write ENV into the Dockerfile, or BuildArg="}, "GroupAdd": {refused: "write USER into the Dockerfile"},
		"IgnoreFile": {refused: "write .dockerignore into the context, or NAME.dockerignore beside the Dockerfile NAME"},
		"Volume":     {refused: "write RUN --mount= into the Dockerfile"},
		"AuthFile":   {refused: readsConfig}, "TLSVerify": {refused: readsConfig},
		"Retry": {refused: "write Restart=on-failure into [Service]"}, "RetryDelay": {refused: "write RestartSec= into [Service]"},
		"PodmanArgs": {refused: onlyPodman}, "GlobalArgs": {refused: onlyPodman}, "ContainersConfModule": {refused: onlyPodman},
	}
}

// imageTag refuses what Podman would take for one odd name.
func imageTag(_ *builder, v string) (string, error) {
	if strings.ContainsAny(v, " \t") {
		return "", errors.New("one name in each: it can be given several times")
	}
	return v, nil
}

func buildNetwork(b *builder, v string) (string, error) {
	if strings.HasSuffix(v, ".network") {
		return b.refer(v)
	}
	if v == "host" { // who writes the file may do so
		b.o.Settings = append(b.o.Settings, Setting{"allow", "network.host", b.single["Network"]})
	}
	return v, nil
}

// buildPull maps Podman's policies: base images that are missing are pulled anyway.
func buildPull(_ *builder, v string) (string, error) {
	switch v {
	case "missing":
		return "", nil
	case "always", "newer":
		return "true", nil
	}
	return "", fmt.Errorf("%q is not one of always, missing and newer", v)
}

// buildSecret takes a relative path from the file's directory.
func buildSecret(b *builder, v string) (string, error) {
	fields := strings.Split(v, ",")
	for i, f := range fields {
		if name, path, ok := strings.Cut(f, "="); ok && (name == "src" || name == "source") {
			fields[i] = name + "=" + b.absolute(path)
		}
	}
	return strings.Join(fields, ","), nil
}

// builtName returns the first name that [Build] gives the image.
func (f *File) builtName(expand func(Entry) (string, error)) string {
	for _, e := range f.sections["Build"] {
		if e.Key == "ImageTag" && e.Value != "" {
			if name, err := expand(e); err == nil {
				return name
			}
		}
	}
	return ""
}

// build settles of what an image is built.
func (b *builder) build() {
	f := b.o.File
	if b.o.Name = f.builtName(b.expand); b.o.Name == "" {
		b.fail(&Problem{f.Path, 0, "there is no ImageTag="})
	}
	b.platform()
	for _, s := range b.o.Settings {
		if s.From.Key == "ImageTag" {
			b.o.References = append(b.o.References, Entry{s.From.Key, s.Value, s.From.Path, s.From.Line})
		}
	}
	file, dir := b.single["File"], b.single["SetWorkingDirectory"]
	for _, e := range []Entry{file, dir} {
		if strings.Contains(e.Value, "://") {
			b.fail(e.Problem("%s=: nothing is fetched: give a path", e.Key))
			return
		}
	}
	context := b.absolute(dir.Value)
	switch {
	case file.Value == "" && dir.Value == "":
		b.fail(&Problem{f.Path, 0, "there is neither File= nor SetWorkingDirectory="})
		return
	case dir.Value == "file" && file.Value == "":
		b.fail(dir.Problem("SetWorkingDirectory=file needs File="))
		return
	case dir.Value == "file" || dir.Value == "":
		context = filepath.Dir(b.absolute(file.Value))
	case dir.Value == "unit":
		context = filepath.Dir(f.Path)
	}
	b.o.Args = []string{context}
	if file.Value == "" {
		return
	}
	path := b.absolute(file.Value)
	if dir.Value != "" && dir.Value != "file" && !filepath.IsAbs(file.Value) {
		path = filepath.Join(context, file.Value) // as for Podman, which runs there
	}
	b.o.Settings = append(b.o.Settings, Setting{"file", path, file})
}

// platform joins Arch= and Variant=.
func (b *builder) platform() {
	arch, variant := b.single["Arch"], b.single["Variant"]
	switch {
	case arch.Value != "" && variant.Value != "":
		b.o.Settings = append(b.o.Settings, Setting{"platform", "linux/" + arch.Value + "/" + variant.Value, arch})
	case arch.Value != "":
		b.o.Settings = append(b.o.Settings, Setting{"platform", "linux/" + arch.Value, arch})
	case variant.Value != "":
		b.fail(variant.Problem("Variant= needs Arch="))
	}
}
