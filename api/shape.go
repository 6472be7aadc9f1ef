package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// change is one difference between the newest form of an object, with everything
// that it ever had, and that of a version.
type change struct {
	since     version // from which on the field is left out
	path      string  // of the field: "NetworkSettings.Bridge"
	onlyEmpty bool    // only a field that is empty is left out
}

// containerShape is what the object of a container has lost over time.
var containerShape = slices.Concat(
	dropped(52, false, "NetworkSettings.", "Bridge", "HairpinMode", "LinkLocalIPv6Address", "LinkLocalIPv6PrefixLen", "SecondaryIPAddresses",
		"SecondaryIPv6Addresses", "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress", "IPPrefixLen", "IPv6Gateway", "MacAddress"),
	dropped(52, true, "Config.", "OnBuild"),
)

// imageShape is what the object of an image has lost over time.
var imageShape = slices.Concat(
	dropped(44, false, "", "VirtualSize"),
	dropped(44, true, "", "Created"),
	dropped(45, false, "", "Container", "ContainerConfig"),
	dropped(50, false, "Config.", "Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "Image", "StopTimeout"),
	dropped(52, true, "Config.", "Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "User", "Volumes", "WorkingDir"),
	dropped(52, true, "", "Parent", "Comment", "DockerVersion", "Author"),
)

func dropped(since version, onlyEmpty bool, prefix string, names ...string) []change {
	var out []change
	for _, name := range names {
		out = append(out, change{since, prefix + name, onlyEmpty})
	}
	return out
}

// shaped answers with an object as version v has it.
func shaped(w http.ResponseWriter, object any, shape []change, v version) error {
	data, err := json.Marshal(object)
	if err != nil {
		return err
	}
	drop := map[string]change{}
	for _, c := range shape {
		if v >= c.since {
			drop[c.path] = c
		}
	}
	if data, err = reshape(data, "", drop); err != nil {
		return err
	}
	return ok(w, json.RawMessage(data))
}

// reshape writes a JSON object without the fields in drop, in the order in which
// they were.
func reshape(data []byte, prefix string, drop map[string]change) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if _, err := dec.Token(); err != nil { // the opening brace
		return nil, err
	}
	out := []byte{'{'}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		path := prefix + key.(string) // those of objects are
		if c, found := drop[path]; found && (!c.onlyEmpty || isEmpty(value)) {
			continue
		}
		if value[0] == '{' && reaches(drop, path+".") {
			if value, err = reshape(value, path+".", drop); err != nil {
				return nil, err
			}
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		name, err := json.Marshal(key)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, name...), ':'), value...)
	}
	return append(out, '}'), nil
}

// reaches reports whether a field below prefix is to be dropped.
func reaches(drop map[string]change, prefix string) bool {
	for path := range drop {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

func isEmpty(value json.RawMessage) bool {
	return slices.Contains([]string{`""`, "null", "[]", "{}", "0", "false"}, string(value))
}
