package opts

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/engine"
)

// Endpoint parses --network: a name or mode, or comma separated KEY=VALUE in the
// syntax of one line of CSV.
func Endpoint(s string) (engine.NetworkRequest, error) {
	var r engine.NetworkRequest
	switch {
	case s == "":
		return r, errors.New("no name set for network")
	case s == "container:":
		return r, errors.New("invalid container format container:<name|id>")
	case !strings.Contains(s, "="):
		return engine.NetworkRequest{Name: s}, nil
	}
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return r, fmt.Errorf("read %q as comma separated values: %w", s, err)
	}
	for _, field := range fields {
		key, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if !ok || value == "" {
			return r, fmt.Errorf("invalid field %s: must be a key=value pair", field)
		}
		if err := endpointField(&r, strings.ToLower(strings.TrimSpace(key)), value); err != nil {
			return r, err
		}
	}
	if r.Name == "" {
		return r, errors.New("network name/id is not specified")
	}
	return r, nil
}

// endpointField applies one KEY=VALUE of --network.
func endpointField(r *engine.NetworkRequest, key, value string) (err error) {
	switch key {
	case "name":
		r.Name = value
	case "alias":
		r.Aliases = append(r.Aliases, strings.ToLower(value))
	case "ip":
		r.IPv4, err = IPv4(value)
	case "ip6":
		r.IPv6, err = IPv6(value)
	case "mac-address":
		r.MAC = value
	case "link-local-ip":
		err = errors.New("link-local-ip " + NoLinkLocal)
	case "driver-opt":
		name, v, ok := strings.Cut(value, "=")
		if !ok || name == "" {
			return fmt.Errorf("invalid key value pair format in driver options: %s", value)
		}
		if r.Options == nil {
			r.Options = map[string]string{}
		}
		r.Options[name] = v
	case "gw-priority":
		if r.Priority, err = strconv.Atoi(value); err != nil {
			err = fmt.Errorf("invalid gw-priority: %s: it is a number", value)
		}
	default:
		err = fmt.Errorf("invalid field key %s: the keys are alias, driver-opt, gw-priority, ip, ip6, mac-address and name", key)
	}
	return err
}

// NoLinkLocal is why link-local addresses cannot be asked for.
const NoLinkLocal = "is not supported: the kernel gives link-local addresses itself"

// IPv4 parses --ip.
func IPv4(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return netip.Addr{}, fmt.Errorf("invalid IPv4 address: %s", s)
	}
	return a, nil
}

// IPv6 parses --ip6.
func IPv6(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is6() || a.Is4In6() || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("invalid IPv6 address: %s", s)
	}
	return a, nil
}

// Link parses --link: CONTAINER, or CONTAINER:ALIAS.
func Link(s string) (string, error) {
	name, alias, withAlias := strings.Cut(s, ":")
	if strings.TrimPrefix(name, "/") == "" || withAlias && alias == "" || strings.Contains(alias, ":") {
		return "", fmt.Errorf("bad format for links: %s", s)
	}
	return s, nil
}

// Alias parses --network-alias. Names are looked up without regard to case.
func Alias(s string) (string, error) {
	if s == "" || strings.ContainsAny(s, " \t,/") {
		return "", fmt.Errorf("invalid network alias: %q", s)
	}
	return strings.ToLower(s), nil
}
