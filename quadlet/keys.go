package quadlet

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// key is what a setting of a file means.
type key struct {
	flag    string // of the verb that makes the object; "" means that a function of its own looks at it
	words   bool   // the value is several words, each a flag
	bool    bool   // the value is yes or no
	last    bool   // of several the last one counts, not all
	convert func(b *builder, value string) (string, error)
	refused string // why it is not supported
}

// The reasons why a key is refused.
const (
	onlyPodman  = "it is about Podman's own workings"
	noSELinux   = "there is no SELinux labelling"
	noUserNS    = "containers have no user namespaces"
	noUpdate    = "images are not updated by themselves: pull and restart the unit"
	noPods      = "there are no pods: use Network=container:NAME"
	readsConfig = "registries are set in /etc/cleat/cleat.yaml, and credentials by 'cleat login'"
	fixedMounts = "a volume with options has to be mounted before the container's unit: create it with 'cleat volume create -o …', or mount it on the host"
)

// keysOf has every key of podman-systemd.unit(5).
var keysOf = map[Kind]map[string]key{
	KindContainer: containerKeys(),
	KindBuild:     buildKeys(),
	KindVolume: {
		"VolumeName": {}, "Driver": {flag: "driver", last: true}, "Label": {flag: "label", words: true},
		"Device": {refused: fixedMounts}, "Options": {refused: fixedMounts}, "Type": {refused: fixedMounts},
		"Copy": {refused: "an empty volume is always filled from the image; say nocopy in Volume="}, "Image": {refused: "a volume is a directory"},
		"User": {refused: "a volume belongs to who the image says"}, "Group": {refused: "a volume belongs to who the image says"},
		"PodmanArgs": {refused: onlyPodman}, "GlobalArgs": {refused: onlyPodman}, "ContainersConfModule": {refused: onlyPodman},
	},
	KindNetwork: {
		"NetworkName": {}, "Driver": {flag: "driver", last: true}, "Label": {flag: "label", words: true},
		"Subnet": {flag: "subnet"}, "Gateway": {flag: "gateway"}, "IPRange": {flag: "ip-range"}, "Internal": {flag: "internal", bool: true, last: true},
		"IPv6": {flag: "ipv6", bool: true, last: true}, "Options": {flag: "opt", convert: oneOption},
		"DNS": {refused: "set DNS= of the containers"}, "DisableDNS": {refused: "names are answered on every network but the default one"},
		"IPAMDriver": {refused: "addresses are given out by cleat itself"}, "NetworkDeleteOnStop": {refused: "remove it with 'cleat network rm'"},
		"InterfaceName": {refused: "set it by Options=com.docker.network.bridge.name=NAME"},
		"PodmanArgs":    {refused: onlyPodman}, "GlobalArgs": {refused: onlyPodman}, "ContainersConfModule": {refused: onlyPodman},
	},
	KindImage: {
		"Image": {}, "OS": {}, "Arch": {}, "Variant": {},
		"AllTags": {refused: "write a file for each image"}, "ImageTag": {refused: "the image keeps the name that Image= says"}, "Policy": {},
		"AuthFile": {refused: readsConfig}, "CertDir": {refused: readsConfig}, "Creds": {refused: readsConfig}, "TLSVerify": {refused: readsConfig},
		"DecryptionKey": {refused: "images are not encrypted"}, "Retry": {refused: "write Restart=on-failure into [Service]"}, "RetryDelay": {refused: "write RestartSec= into [Service]"},
		"PodmanArgs": {refused: onlyPodman}, "GlobalArgs": {refused: onlyPodman}, "ContainersConfModule": {refused: onlyPodman},
	},
}

func containerKeys() map[string]key {
	keys := map[string]key{
		"Image": {}, "ContainerName": {}, "Exec": {}, "Entrypoint": {}, "User": {}, "Group": {}, "ReadOnlyTmpfs": {},

		"AddCapability": {flag: "cap-add", words: true}, "DropCapability": {flag: "cap-drop", words: true},
		"AddDevice": {flag: "device", convert: device}, "AddHost": {flag: "add-host"},
		"AppArmor": {flag: "security-opt", last: true, convert: prefixed("apparmor=")}, "DNS": {flag: "dns"}, "DNSOption": {flag: "dns-option"}, "DNSSearch": {flag: "dns-search"},
		"Environment": {flag: "env", words: true, convert: assignment}, "EnvironmentFile": {flag: "env-file", convert: besideFile},
		"ExposeHostPort": {flag: "expose"}, "GroupAdd": {flag: "group-add"}, "HostName": {flag: "hostname", last: true},
		"IP": {flag: "ip", last: true}, "IP6": {flag: "ip6", last: true}, "Label": {flag: "label", words: true},
		"LogDriver": {flag: "log-driver", last: true}, "LogOpt": {flag: "log-opt"}, "Memory": {flag: "memory", last: true},
		"Mount": {flag: "mount", convert: mount}, "Network": {flag: "network", convert: network}, "NetworkAlias": {flag: "network-alias"},
		"NoNewPrivileges": {flag: "security-opt", bool: true, last: true, convert: ifTrue("no-new-privileges")}, "Notify": {flag: "sdnotify", last: true, convert: notify},
		"PidsLimit": {flag: "pids-limit", last: true}, "PublishPort": {flag: "publish"}, "Pull": {flag: "pull", last: true, convert: pullPolicy},
		"ReadOnly": {flag: "read-only", bool: true, last: true}, "RunInit": {flag: "init", bool: true, last: true},
		"SeccompProfile": {flag: "security-opt", last: true, convert: prefixed("seccomp=")}, "Secret": {flag: "secret"}, "ShmSize": {flag: "shm-size", last: true},
		"StopSignal": {flag: "stop-signal", last: true}, "StopTimeout": {flag: "stop-timeout", last: true}, "Sysctl": {flag: "sysctl", words: true},
		"Tmpfs": {flag: "tmpfs"}, "Ulimit": {flag: "ulimit"}, "Unmask": {flag: "security-opt", last: true, convert: unmask}, "UserNS": {flag: "userns", last: true},
		"Volume": {flag: "volume", convert: volume}, "WorkingDir": {flag: "workdir", last: true},

		"HealthCmd": {flag: "health-cmd", last: true}, "HealthInterval": {flag: "health-interval", last: true, convert: seconds},
		"HealthOnFailure": {flag: "health-on-failure", last: true}, "HealthRetries": {flag: "health-retries", last: true},
		"HealthStartPeriod": {flag: "health-start-period", last: true, convert: seconds}, "HealthTimeout": {flag: "health-timeout", last: true, convert: seconds},
	}
	for name, why := range map[string]string{
		"Annotation": "containers have labels alone", "AutoUpdate": noUpdate, "CgroupsMode": "a container is a systemd unit",
		"ContainersConfModule": onlyPodman, "EnvironmentHost": "the unit has no environment to speak of: write Environment=", "GIDMap": noUserNS, "GlobalArgs": onlyPodman,
		"HealthLogDestination": "health checks are in 'cleat inspect'", "HealthMaxLogCount": "the last five checks are kept", "HealthMaxLogSize": "4 KiB of each check are kept",
		"HealthStartupCmd": "there is one check: see HealthStartPeriod=", "HealthStartupInterval": "there is one check: see HealthStartPeriod=", "HealthStartupRetries": "there is one check: see HealthStartPeriod=",
		"HealthStartupSuccess": "there is one check: see HealthStartPeriod=", "HealthStartupTimeout": "there is one check: see HealthStartPeriod=",
		"HttpProxy": "write Environment=", "Mask": "what is masked is fixed, but see Unmask=ALL", "Pod": noPods, "PodmanArgs": onlyPodman, "ReloadCmd": "write ExecReload= into [Service]",
		"ReloadSignal": "write ExecReload= into [Service]", "RemapGid": noUserNS, "RemapUid": noUserNS, "RemapUidSize": noUserNS, "RemapUsers": noUserNS, "Retry": "write Restart=on-failure into [Service]", "RetryDelay": "write RestartSec= into [Service]",
		"Rootfs": "a container is made of an image: see 'cleat import'", "SecurityLabelDisable": noSELinux, "SecurityLabelFileType": noSELinux, "SecurityLabelLevel": noSELinux,
		"SecurityLabelNested": noSELinux, "SecurityLabelType": noSELinux, "ServiceName": "write Alias= into [Install]", "StartWithPod": noPods, "SubGIDMap": noUserNS, "SubUIDMap": noUserNS,
		"Timezone": "write Environment=TZ=…, or mount /etc/localtime", "UIDMap": noUserNS, "VolatileTmp": "write Tmpfs=/tmp", "NoVolumes": "write Volume= with a name",
	} {
		keys[name] = key{refused: why}
	}
	return keys
}

// device leaves out a device that may be missing, and is.
func device(_ *builder, v string) (string, error) {
	path, optional := strings.CutPrefix(v, "-")
	if !optional {
		return v, nil
	}
	host, _, _ := strings.Cut(path, ":")
	if !exists(host) {
		return "", nil
	}
	return path, nil
}

// assignment refuses variables without a value, which Podman takes from the
// environment of the unit: there is nothing to be found.
func assignment(_ *builder, v string) (string, error) {
	if name, _, ok := strings.Cut(v, "="); !ok || name == "" {
		return "", fmt.Errorf("%q is not of the form NAME=VALUE", v)
	}
	return v, nil
}

func besideFile(b *builder, v string) (string, error) {
	if strings.HasPrefix(v, "-") {
		return "", errors.New("a file that may be missing is not supported")
	}
	return b.absolute(v), nil
}

// absolute returns a path that may be relative to the file's directory.
func (b *builder) absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(b.o.File.Path), path)
}

// volume takes the name of a volume from its file.
func volume(b *builder, v string) (string, error) {
	source, rest, ok := strings.Cut(v, ":")
	switch {
	case !ok:
		return v, nil
	case strings.HasSuffix(source, ".volume"):
		name, err := b.refer(source)
		return name + ":" + rest, err
	case strings.HasPrefix(source, "."):
		return b.absolute(source) + ":" + rest, nil
	}
	return v, nil
}

func mount(b *builder, v string) (string, error) {
	fields := strings.Split(v, ",")
	for i, f := range fields {
		name, source, _ := strings.Cut(f, "=")
		if name != "source" && name != "src" {
			continue
		}
		if strings.HasSuffix(source, ".volume") {
			var err error
			if source, err = b.refer(source); err != nil {
				return "", err
			}
		} else if strings.HasPrefix(source, ".") {
			source = b.absolute(source)
		}
		fields[i] = name + "=" + source
	}
	return strings.Join(fields, ","), nil
}

// network turns Podman's NAME:KEY=VALUE,… into Docker's name=NAME,KEY=VALUE,….
func network(b *builder, v string) (string, error) {
	name, options, _ := strings.Cut(v, ":")
	switch {
	case name == "container" && options != "":
		if strings.HasSuffix(options, ".container") {
			other, err := b.refer(options)
			return "container:" + other, err
		}
		return v, nil
	case strings.HasSuffix(name, ".container"):
		other, err := b.refer(name)
		return "container:" + other, err
	case name == "slirp4netns" || name == "pasta" || name == "private" || name == "ns":
		return "", fmt.Errorf("there is no network %q: the networks are bridge, host, none, and those that you make", name)
	case strings.HasSuffix(name, ".network"):
		var err error
		if name, err = b.refer(name); err != nil {
			return "", err
		}
	}
	if options == "" {
		return name, nil
	}
	return "name=" + name + "," + options, nil
}

// notify maps what Podman does: its helper, the payload or the health check says
// that the container is ready.
func notify(_ *builder, v string) (string, error) {
	if v == "healthy" {
		return v, nil
	}
	on, err := parseBool(v)
	if err != nil {
		return "", fmt.Errorf("%q is neither yes, no nor healthy", v)
	}
	if on {
		return "container", nil
	}
	return "ignore", nil
}

func pullPolicy(_ *builder, v string) (string, error) {
	if v == "newer" {
		return "", errors.New("newer is not supported: always pulls what has changed alone")
	}
	return v, nil
}

func unmask(_ *builder, v string) (string, error) {
	if v != "ALL" {
		return "", errors.New("only ALL is supported")
	}
	return "systempaths=unconfined", nil
}

func prefixed(prefix string) func(*builder, string) (string, error) {
	return func(_ *builder, v string) (string, error) { return prefix + v, nil }
}

func ifTrue(value string) func(*builder, string) (string, error) {
	return func(_ *builder, v string) (string, error) {
		if v == "true" {
			return value, nil
		}
		return "", nil
	}
}

// seconds gives a number without a unit its unit.
func seconds(_ *builder, v string) (string, error) {
	if d, err := time.ParseDuration(v + "s"); err == nil {
		return d.String(), nil
	}
	return v, nil
}

// oneOption refuses what Podman takes as several.
func oneOption(_ *builder, v string) (string, error) {
	if !strings.Contains(v, "=") {
		return "", fmt.Errorf("%q is not of the form KEY=VALUE", v)
	}
	return v, nil
}
