package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/registry"

	"github.com/cleat-project/cleat/engine"
)

// buildFlags says which flag of cleat-build a parameter of a build becomes, and in
// which form the parameter is. What cleat-build does not have it refuses by name.
var buildFlags = []struct {
	parameter, flag string
	values          func(*request, string) ([]string, error)
}{
	{"t", "tag", repeated},
	{"target", "target", text},
	{"networkmode", "network", text},
	{"cgroupparent", "cgroup-parent", text},
	{"isolation", "isolation", text},
	{"cpusetcpus", "cpuset-cpus", text},
	{"cpusetmems", "cpuset-mems", text},
	{"extrahosts", "add-host", repeated},
	{"cachefrom", "cache-from", listed},
	{"securityopt", "security-opt", listed},
	{"buildargs", "build-arg", pairs},
	{"labels", "label", pairs},
	{"ulimits", "ulimit", ulimits},
	{"memory", "memory", count},
	{"memswap", "memory-swap", count},
	{"shmsize", "shm-size", count},
	{"cpushares", "cpu-shares", count},
	{"cpuperiod", "cpu-period", count},
	{"cpuquota", "cpu-quota", count},
	{"nocache", "no-cache", yes},
	{"pull", "pull", yes},
	{"squash", "squash", yes},
	{"q", "quiet", yes},
}

// maxBuildArg is the longest argument that the kernel passes to a program, see
// execve(2).
const maxBuildArg = 128<<10 - 1

// buildArgs turns the parameters of a build into arguments of cleat-build. The
// parameters rm and forcerm are about containers that are left over, and there are
// none.
func (r *request) buildArgs() (args []string, err error) {
	switch v := r.query.Get("version"); v {
	case "", "1":
	case "2":
		return nil, httpError{http.StatusNotImplemented, "building with BuildKit is not supported: use the classic builder (DOCKER_BUILDKIT=0), or 'cleat build'"}
	default:
		return nil, invalid("invalid version %q of the builder", v)
	}
	if outputs := r.query.Get("outputs"); outputs != "" && outputs != "[]" && outputs != "null" {
		return nil, unsupported("other outputs than an image need BuildKit, which is not supported: use 'cleat build --output'")
	}
	for _, f := range buildFlags {
		values, err := f.values(r, f.parameter)
		if err != nil {
			return nil, err
		}
		for _, v := range values {
			args = append(args, "--"+f.flag+"="+v)
		}
	}
	platform, err := r.platform()
	if err != nil {
		return nil, err
	}
	if platform != "" {
		args = append(args, "--platform="+platform)
	}
	where, more, err := r.buildContext()
	if err != nil {
		return nil, err
	}
	args = append(append(args, more...), "--", where)
	return args, checkArgs(args)
}

// buildContext says where the files are: in the body of the request, or at an
// address. A path on this machine is not for clients to name.
func (r *request) buildContext() (where string, args []string, err error) {
	dockerfile, remote := r.query.Get("dockerfile"), r.query.Get("remote")
	if dockerfile == "-" {
		dockerfile = "./-" // stdin is not meant
	}
	if remote == "" {
		if dockerfile == "" {
			dockerfile = "Dockerfile"
		}
		return "-", []string{"--file=" + dockerfile}, nil
	}
	for _, prefix := range []string{"http://", "https://", "git://", "ssh://", "git@", "github.com/"} {
		if strings.HasPrefix(remote, prefix) {
			if dockerfile != "" {
				args = []string{"--file=" + dockerfile}
			}
			return remote, args, nil
		}
	}
	return "", nil, invalid("invalid remote context %q: it has to be the address of a git repository or of a file", remote)
}

func checkArgs(args []string) error {
	for _, a := range args {
		name, _, _ := strings.Cut(strings.TrimPrefix(a, "--"), "=")
		if strings.ContainsRune(a, 0) {
			return invalid("invalid value for %q: it has a NUL character", name)
		}
		if len(a) > maxBuildArg {
			return invalid("value for %q is too long: %d bytes at most", name, maxBuildArg)
		}
	}
	return nil
}

// text is a parameter that is a word.
func text(r *request, name string) ([]string, error) {
	if v := r.query.Get(name); v != "" {
		return []string{v}, nil
	}
	return nil, nil
}

// repeated is a parameter that may be given several times.
func repeated(r *request, name string) (values []string, err error) {
	for _, v := range r.query[name] {
		if v != "" {
			values = append(values, v)
		}
	}
	return values, nil
}

// yes is a parameter that is true or false.
func yes(r *request, name string) ([]string, error) {
	if r.flag(name) {
		return []string{"true"}, nil
	}
	return nil, nil
}

// count is a parameter that is a number; 0 means that it is not given, and so does
// -1, which for some of them is no limit.
func count(r *request, name string) ([]string, error) {
	v := r.query.Get(name)
	if v == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < -1 {
		return nil, invalid("invalid value for %q: %q is not a number from 0 on", name, v)
	}
	if n <= 0 {
		return nil, nil
	}
	return []string{v}, nil
}

// listed is a parameter that is a JSON list of words.
func listed(r *request, name string) (values []string, err error) {
	return values, r.fromJSON(name, &values)
}

// pairs is a parameter that is a JSON object of words. Without a value, which
// means to take that of the client, a name is not given.
func pairs(r *request, name string) (values []string, err error) {
	var object map[string]*string
	if err := r.fromJSON(name, &object); err != nil {
		return nil, err
	}
	for _, k := range slices.Sorted(maps.Keys(object)) {
		if k == "" || strings.Contains(k, "=") {
			return nil, invalid("invalid value for %q: the name %q is empty or has an equals sign", name, k)
		}
		if v := object[k]; v != nil {
			values = append(values, k+"="+*v)
		}
	}
	return values, nil
}

func ulimits(r *request, name string) (values []string, err error) {
	var list []units.Ulimit
	if err := r.fromJSON(name, &list); err != nil {
		return nil, err
	}
	for _, u := range list {
		values = append(values, u.String())
	}
	return values, nil
}

func (r *request) fromJSON(name string, into any) error {
	v := r.query.Get(name)
	if v == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(v), into); err != nil {
		return invalid("invalid value for %q: invalid JSON: %s", name, plainJSON(err))
	}
	return nil
}

// buildCredentials reads those that a client sends along for all registries it
// knows, by their addresses.
func (r *request) buildCredentials() ([]engine.Credentials, error) {
	head := r.Header.Get("X-Registry-Config")
	list := []engine.Credentials{}
	if head == "" {
		return list, nil
	}
	data, err := base64.URLEncoding.DecodeString(head)
	if err != nil {
		if data, err = base64.StdEncoding.DecodeString(head); err != nil {
			return nil, invalid("invalid head X-Registry-Config: it is not in base64")
		}
	}
	var known map[string]registry.AuthConfig
	if err := json.Unmarshal(data, &known); err != nil {
		return nil, invalid("invalid head X-Registry-Config: invalid JSON: %s", plainJSON(err))
	}
	for _, server := range slices.Sorted(maps.Keys(known)) {
		in := known[server]
		in.ServerAddress = server
		c := credentials(in)
		if in.Auth != "" && c.User == "" {
			if c.User, c.Password, err = decodeAuth(in.Auth); err != nil {
				return nil, invalid("invalid head X-Registry-Config: credentials for %s: %v", server, err)
			}
		}
		if c.Server == "" {
			c.Server = "docker.io"
		}
		list = append(list, c)
	}
	return list, nil
}

// decodeAuth takes apart what configuration files have for a user and a password.
func decodeAuth(auth string) (user, password string, err error) {
	data, err := base64.StdEncoding.DecodeString(auth)
	if err != nil {
		return "", "", fmt.Errorf("they are not in base64")
	}
	user, password, ok := strings.Cut(string(data), ":")
	if !ok {
		return "", "", fmt.Errorf("they have no password")
	}
	return user, password, nil
}
