package opts

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// DeviceRule parses --device-cgroup-rule: TYPE MAJOR:MINOR PERMISSIONS, where a
// number may be "*".
func DeviceRule(s string) (spec.DeviceRule, error) {
	words := strings.Split(s, " ")
	if len(words) != 3 {
		return spec.DeviceRule{}, fmt.Errorf("invalid device cgroup format '%s': it is TYPE MAJOR:MINOR PERMISSIONS, for example \"c 189:* rwm\"", s)
	}
	major, minor, ok := strings.Cut(words[1], ":")
	r := spec.DeviceRule{Type: words[0], Major: major, Minor: minor, Permissions: words[2]}
	switch {
	case r.Type != "a" && r.Type != "b" && r.Type != "c":
		return spec.DeviceRule{}, fmt.Errorf("invalid device cgroup format '%s': the type is a, b or c", s)
	case !ok || !deviceNumber(major, 12) || !deviceNumber(minor, 20):
		return spec.DeviceRule{}, fmt.Errorf("invalid device cgroup format '%s': %q is not MAJOR:MINOR", s, words[1])
	case major == "*" && minor != "*":
		return spec.DeviceRule{}, fmt.Errorf("device cgroup rule '%s' is not supported: systemd takes a minor number with its major one only", s)
	case !permissions(r.Permissions):
		return spec.DeviceRule{}, fmt.Errorf("invalid device cgroup format '%s': permissions are some of rwm", s)
	}
	return r, nil
}

// deviceNumber reports whether s is "*" or a number of as many bits as the kernel
// has for it.
func deviceNumber(s string, bits int) bool {
	_, err := strconv.ParseUint(s, 10, bits)
	return s == "*" || err == nil
}

// DeviceWeight parses --blkio-weight-device: DEVICE:WEIGHT.
func DeviceWeight(s string) (spec.DeviceLimit, error) {
	dev, weight, err := deviceRate(s)
	if err != nil {
		return spec.DeviceLimit{}, err
	}
	n, err := strconv.ParseUint(weight, 10, 16)
	if err != nil || n < 10 || n > 1000 {
		return spec.DeviceLimit{}, fmt.Errorf("invalid weight for device: %s: it is from 10 to 1000", s)
	}
	return spec.DeviceLimit{Path: dev, Rate: n}, nil
}

// Annotation parses --annotation: KEY or KEY=VALUE.
func Annotation(s string) (string, error) {
	if key, _, _ := strings.Cut(s, "="); strings.TrimSpace(key) == "" {
		return "", fmt.Errorf("%q has no key: an annotation is KEY=VALUE", s)
	}
	return s, nil
}
