package unitgen

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/internal/signal"
)

// softSuffix marks the property of a soft limit; that of the hard one has none.
const softSuffix = "Soft"

// Text returns u as a unit file, see systemd.syntax(7). Whatever the values
// hold, the file has these settings and no others. Where the format cannot
// carry a character in a plain text such as Description=, it becomes "?".
func Text(u Unit) string { return render(u, func(string) string { return "" }) }

// render is Text with what why says of a setting above it.
func render(u Unit, why func(string) string) string {
	sections := map[string][]string{}
	add := func(section, name, value string) {
		if reason := why(name); reason != "" {
			sections[section] = append(sections[section], "# "+reason)
		}
		sections[section] = append(sections[section], name+"="+value)
	}
	if u.ID != "" {
		add("Unit", "X-Cleat-Id", plain(u.ID))
	}
	for _, p := range u.Properties {
		section := sectionOf(p.Name, u.Name)
		if listens, ok := p.Value.([]Listen); ok {
			for _, l := range listens {
				add(section, p.Name+l.Type, l.Address)
			}
			continue
		}
		name, values := directive(p, u.Properties)
		for _, value := range values {
			add(section, name, value)
		}
	}
	for _, target := range u.Install {
		add("Install", "WantedBy", words([]string{target}))
	}
	var b strings.Builder
	if !u.Plain {
		b.WriteString("# Made by cleat. Change it with \"systemctl edit\", which keeps changes apart.\n")
	}
	for _, section := range []string{"Unit", "Service", "Socket", "Mount", "Timer", "Slice", "Install"} {
		if lines := sections[section]; len(lines) > 0 {
			fmt.Fprintf(&b, "\n[%s]\n%s\n", section, strings.Join(lines, "\n"))
		}
	}
	return b.String()
}

// unitSettings are the properties that belong into the section [Unit].
const unitSettings = "After AssertPathExists Before BindsTo CollectMode Conflicts DefaultDependencies Description Documentation IgnoreOnIsolate PartOf " +
	"RequiresMountsFor Requires StartLimitBurst StartLimitIntervalUSec StopWhenUnneeded SurviveFinalKillSignal Upholds Wants"

// dependencies are lists of units. Their names need no quotes, and the escape
// sequences in them are part of them.
const dependencies = "After Before BindsTo Conflicts PartOf Requires Upholds Wants"

func sectionOf(property, unit string) string {
	if slices.Contains(strings.Fields(unitSettings), property) {
		return "Unit"
	}
	suffix := unit[strings.LastIndexByte(unit, '.')+1:]
	return strings.ToUpper(suffix[:min(1, len(suffix))]) + suffix[min(1, len(suffix)):]
}

// directive returns the name of a property in unit files and its values, one
// for each line. The name differs where the unit of a number does.
func directive(p Property, all []Property) (name string, values []string) {
	n, isNumber := p.Value.(uint64)
	switch {
	case p.Name == "CPUQuotaPerSecUSec":
		return "CPUQuota", []string{percent(n)}
	case strings.HasSuffix(p.Name, "USec") && isNumber:
		return strings.TrimSuffix(p.Name, "USec") + "Sec", []string{duration(n)}
	case strings.HasPrefix(p.Name, "Limit") && strings.HasSuffix(p.Name, softSuffix):
		return "", nil // the hard limit's line has it
	case strings.HasPrefix(p.Name, "Limit") && isNumber:
		return p.Name, []string{rlimit(p.Name, n, all)}
	case slices.Contains(strings.Fields(dependencies), p.Name):
		units, _ := p.Value.([]string)
		return p.Name, lines([][]string{units}, unitNames)
	case p.Name == "KillSignal":
		sig, _ := p.Value.(int32)
		return p.Name, []string{signal.Name(int(sig))}
	}
	return p.Name, values2text(p.Value)
}

// values2text writes a value by its type, one element for each line.
func values2text(value any) []string {
	switch v := value.(type) {
	case string:
		return []string{plain(v)}
	case bool:
		return []string{map[bool]string{true: "yes", false: "no"}[v]}
	case int32:
		return []string{strconv.FormatInt(int64(v), 10)}
	case uint32:
		return []string{strconv.FormatUint(uint64(v), 10)}
	case uint64:
		return []string{number(v)}
	case []string:
		return []string{words(v)}
	case []byte:
		return []string{formatCPUs(v)}
	case ExitStatusSet:
		return []string{exitStatus(v)}
	case EnvList:
		return lines(v, variable)
	case []Exec:
		return lines(v, commandLine)
	case []DeviceAllow:
		return lines(v, func(d DeviceAllow) string { return words([]string{d.Node, d.Permissions}) })
	case []Credential:
		return lines(v, func(c Credential) string { return c.ID + ":" + strings.ReplaceAll(c.Source, "%", "%%") })
	case []IOLimit:
		return lines(v, func(l IOLimit) string { return words([]string{l.Path}) + " " + number(l.Limit) })
	}
	return nil
}

func lines[T any](in []T, format func(T) string) []string {
	out := make([]string, 0, len(in))
	for _, v := range in {
		out = append(out, format(v))
	}
	return out
}

func number(n uint64) string {
	if n == Infinity {
		return "infinity"
	}
	return strconv.FormatUint(n, 10)
}

// duration writes microseconds, see systemd.time(7).
func duration(usec uint64) string {
	switch {
	case usec == Infinity || usec == 0:
		return number(usec)
	case usec%1_000_000 == 0:
		return number(usec/1_000_000) + "s"
	case usec%1000 == 0:
		return number(usec/1000) + "ms"
	}
	return number(usec) + "us"
}

// percent writes microseconds of CPU time in a second.
func percent(usec uint64) string {
	if usec%10_000 == 0 {
		return number(usec/10_000) + "%"
	}
	return fmt.Sprintf("%d.%02d%%", usec/10_000, usec/100%100)
}

// rlimit writes soft:hard; without a soft limit of its own it is the same.
func rlimit(name string, hard uint64, all []Property) string {
	soft := hard
	for _, p := range all {
		if n, ok := p.Value.(uint64); ok && p.Name == name+softSuffix {
			soft = n
		}
	}
	return number(soft) + ":" + number(hard)
}

func exitStatus(s ExitStatusSet) string {
	var out []string
	for _, code := range s.Codes {
		out = append(out, strconv.Itoa(int(code)))
	}
	for _, sig := range s.Signals {
		out = append(out, signal.Name(int(sig)))
	}
	return strings.Join(out, " ")
}

// formatCPUs writes a bitmap as ranges.
func formatCPUs(set []byte) string {
	has := func(cpu int) bool { return cpu < 8*len(set) && set[cpu/8]&(1<<(cpu%8)) != 0 }
	var out []string
	for cpu := 0; cpu < 8*len(set); cpu++ {
		if !has(cpu) {
			continue
		}
		first := cpu
		for has(cpu + 1) {
			cpu++
		}
		if first == cpu {
			out = append(out, strconv.Itoa(cpu))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", first, cpu))
		}
	}
	return strings.Join(out, " ")
}
