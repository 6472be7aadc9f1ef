package main

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/cleat-project/cleat/engine"
)

// joinSubnets gives every range, gateway and auxiliary address to the subnet that
// it lies in: on the command line they are told apart by nothing else.
func joinSubnets(subnets, ranges, gateways []string, aux map[string]string) ([]engine.NetworkSubnet, error) {
	if len(subnets) < len(ranges) || len(subnets) < len(gateways) || len(subnets) == 0 && len(aux) > 0 {
		return nil, errors.New("every ip-range, gateway or aux-address must have a corresponding subnet")
	}
	all, err := parseSubnets(subnets)
	if err != nil {
		return nil, err
	}
	for _, s := range ranges {
		if err := addRange(all, s); err != nil {
			return nil, err
		}
	}
	for _, s := range gateways {
		if err := addGateway(all, s); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(aux)) {
		if err := addAux(all, name, aux[name]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func parseSubnets(texts []string) ([]engine.NetworkSubnet, error) {
	var all []engine.NetworkSubnet
	for _, s := range texts {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("invalid subnet %s: it is an address and a length, such as 10.1.2.0/24", s)
		}
		for _, other := range all {
			if other.Prefix.Overlaps(p) {
				return nil, errors.New("multiple overlapping subnet configuration is not supported")
			}
		}
		all = append(all, engine.NetworkSubnet{Prefix: p})
	}
	return all, nil
}

// around returns the subnet that a lies in, nil if there is none.
func around(all []engine.NetworkSubnet, a netip.Addr) *engine.NetworkSubnet {
	i := slices.IndexFunc(all, func(s engine.NetworkSubnet) bool { return s.Prefix.Contains(a) })
	if i < 0 {
		return nil
	}
	return &all[i]
}

func addRange(all []engine.NetworkSubnet, text string) error {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return fmt.Errorf("invalid ip-range %s: it is an address and a length, such as 10.1.2.128/25", text)
	}
	s := around(all, p.Addr())
	switch {
	case s == nil:
		return fmt.Errorf("no matching subnet for range %s", text)
	case s.Range.IsValid():
		return fmt.Errorf("cannot configure multiple ranges (%s, %s) on the same subnet (%s)", text, s.Range, s.Prefix)
	}
	s.Range = p
	return nil
}

func addGateway(all []engine.NetworkSubnet, text string) error {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return fmt.Errorf("invalid gateway %s: it is an address", text)
	}
	s := around(all, a)
	switch {
	case s == nil:
		return fmt.Errorf("no matching subnet for gateway %s", text)
	case s.Gateway.IsValid():
		return fmt.Errorf("cannot configure multiple gateways (%s, %s) for the same subnet (%s)", text, s.Gateway, s.Prefix)
	}
	s.Gateway = a
	return nil
}

func addAux(all []engine.NetworkSubnet, name, text string) error {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return fmt.Errorf("invalid aux-address %s=%s: it is a name and an address", name, text)
	}
	s := around(all, a)
	if s == nil {
		return fmt.Errorf("no matching subnet for aux-address %s", text)
	}
	if s.Aux == nil {
		s.Aux = map[string]netip.Addr{}
	}
	s.Aux[name] = a
	return nil
}
