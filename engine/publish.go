package engine

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

// ParsePublish parses one -p: [[IP:][PORTS]:]PORTS[/PROTO], or Docker's long form
// target=PORTS,published=PORTS,protocol=PROTO,host_ip=IP. Errors wrap
// spec.ErrInvalid.
func ParsePublish(s string) ([]spec.Port, error) {
	if !strings.Contains(s, "=") {
		return netd.ParsePorts(s)
	}
	short, err := shortPublish(s)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w: %w", s, err, spec.ErrInvalid)
	}
	return netd.ParsePorts(short)
}

// shortPublish turns the long form into the short one.
func shortPublish(s string) (string, error) {
	given := map[string]string{}
	for _, field := range strings.Split(s, ",") {
		key, value, ok := strings.Cut(field, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		switch {
		case !ok || value == "":
			return "", fmt.Errorf("%q is not of the form KEY=VALUE", field)
		case given[key] != "":
			return "", fmt.Errorf("%s is given twice", key)
		case key != "host_ip" && strings.ContainsAny(value, ":/"):
			return "", fmt.Errorf("%s is %q, which has : or / in it", key, value)
		case key == "mode" && value != "host" && value != "ingress":
			return "", fmt.Errorf("mode is %q, want host or ingress, which are the same here", value)
		}
		switch key {
		case "target", "published", "protocol", "host_ip", "mode":
			given[key] = value
		default:
			return "", fmt.Errorf("unknown key %q: the keys are target, published, protocol, host_ip and mode", key)
		}
	}
	target, ip := given["target"], given["host_ip"]
	if target == "" {
		return "", errors.New("no target, which is the port in the container")
	}
	if strings.Contains(ip, ":") && !strings.HasPrefix(ip, "[") {
		ip = "[" + ip + "]"
	}
	short := given["published"] + ":" + target + "/" + cmp.Or(given["protocol"], "tcp")
	if ip != "" {
		short = ip + ":" + short
	}
	return strings.TrimPrefix(short, ":"), nil
}

// ParseExpose parses one --expose, PORTS[/PROTO], or a key of an image's
// ExposedPorts.
func ParseExpose(s string) ([]spec.Port, error) {
	if strings.Contains(s, ":") {
		return nil, invalid("invalid port format for --expose: %s", s)
	}
	return netd.ParsePorts(s)
}
