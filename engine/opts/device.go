package opts

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/docker/go-units"

	"github.com/cleat-project/cleat/spec"
)

// Device parses --device: HOST[:CONTAINER][:PERMISSIONS].
func Device(s string) (spec.Device, error) {
	fields := strings.Split(s, ":")
	d := spec.Device{Host: fields[0], Permissions: "rwm"}
	if !strings.HasPrefix(d.Host, "/") && strings.Contains(d.Host, "/") && strings.Contains(d.Host, "=") {
		return spec.Device{}, fmt.Errorf("%s: devices by CDI name are not supported", s)
	}
	switch len(fields) {
	case 1:
	case 2:
		if permissions(fields[1]) {
			d.Permissions = fields[1]
		} else {
			d.Container = fields[1]
		}
	case 3:
		d.Container, d.Permissions = fields[1], fields[2]
	default:
		return spec.Device{}, fmt.Errorf("bad format for path: %s", s)
	}
	if d.Container == "" {
		d.Container = d.Host
	}
	if !permissions(d.Permissions) {
		return spec.Device{}, fmt.Errorf("bad mode specified: %s", d.Permissions)
	}
	for _, p := range []string{d.Host, d.Container} {
		if !path.IsAbs(p) {
			return spec.Device{}, fmt.Errorf("%s is not an absolute path", p)
		}
	}
	d.Host, d.Container = path.Clean(d.Host), path.Clean(d.Container)
	return d, nil
}

// permissions reports whether s consists of r, w and m, each at most once.
func permissions(s string) bool {
	if s == "" {
		return false
	}
	for i, r := range s {
		if !strings.ContainsRune("rwm", r) || strings.ContainsRune(s[:i], r) {
			return false
		}
	}
	return true
}

// DeviceBPS parses --device-read-bps and its kin: DEVICE:SIZE a second.
func DeviceBPS(s string) (spec.DeviceLimit, error) {
	dev, rate, err := deviceRate(s)
	if err != nil {
		return spec.DeviceLimit{}, err
	}
	n, err := units.RAMInBytes(rate)
	if err != nil || n < 0 {
		return spec.DeviceLimit{}, fmt.Errorf("invalid rate for device: %s. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb", s)
	}
	return spec.DeviceLimit{Path: dev, Rate: uint64(n)}, nil
}

// DeviceIOPS parses --device-read-iops and its kin: DEVICE:OPERATIONS a second.
func DeviceIOPS(s string) (spec.DeviceLimit, error) {
	dev, rate, err := deviceRate(s)
	if err != nil {
		return spec.DeviceLimit{}, err
	}
	n, err := strconv.ParseUint(rate, 10, 64)
	if err != nil {
		return spec.DeviceLimit{}, fmt.Errorf("invalid rate for device: %s. The correct format is <device-path>:<number>. Number must be a positive integer", s)
	}
	return spec.DeviceLimit{Path: dev, Rate: n}, nil
}

func deviceRate(s string) (dev, rate string, err error) {
	dev, rate, ok := strings.Cut(s, ":")
	if !ok || dev == "" || rate == "" {
		return "", "", fmt.Errorf("bad format: %s", s)
	}
	if !strings.HasPrefix(dev, "/dev/") {
		return "", "", fmt.Errorf("bad format for device path: %s", s)
	}
	return dev, rate, nil
}

// Ulimit parses --ulimit: NAME=SOFT[:HARD].
func Ulimit(s string) (spec.Ulimit, error) {
	u, err := units.ParseUlimit(s)
	if err != nil {
		return spec.Ulimit{}, err
	}
	return spec.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard}, nil
}

// Stream parses --attach.
func Stream(s string) (string, error) {
	switch l := strings.ToLower(s); l {
	case "stdin", "stdout", "stderr":
		return l, nil
	}
	return "", errors.New("valid streams are STDIN, STDOUT and STDERR")
}
