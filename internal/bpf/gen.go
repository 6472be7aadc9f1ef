//go:build ignore

// Gen writes syscalls.txt from the tables of golang.org/x/sys/unix.
package main

import (
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// arches are the columns, named as GOARCH.
var arches = []string{"amd64", "386", "arm64", "arm"}

// private are the calls of 32-bit ARM outside the common range, from the
// kernel's arch/arm/include/uapi/asm/unistd.h; x/sys leaves them out.
var private = map[string]string{
	"breakpoint": "983041",
	"cacheflush": "983042",
	"usr26":      "983043",
	"usr32":      "983044",
	"set_tls":    "983045",
	"get_tls":    "983046",
}

// aliases are the kernel's other names of calls.
var aliases = map[string]string{"sync_file_range2": "arm_sync_file_range"}

func main() {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}} {{.Version}}", "golang.org/x/sys").Output()
	if err != nil {
		log.Fatal(err)
	}
	dir, version, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	line := regexp.MustCompile(`(?m)^\s+SYS_(\w+)\s+= (\d+)$`)
	table := map[string][]string{}
	for i, arch := range arches {
		src, err := os.ReadFile(filepath.Join(dir, "unix", "zsysnum_linux_"+arch+".go"))
		if err != nil {
			log.Fatal(err)
		}
		for _, m := range line.FindAllStringSubmatch(string(src), -1) {
			if m[1] == "SYSCALL_MASK" {
				continue // not a call
			}
			set(table, strings.ToLower(m[1]), i, m[2])
		}
	}
	arm := slices.Index(arches, "arm")
	for name, nr := range private {
		set(table, name, arm, nr)
	}
	for alias, name := range aliases {
		set(table, alias, arm, table[name][arm])
	}
	if err := os.WriteFile("syscalls.txt", render(table, version), 0o644); err != nil {
		log.Fatal(err)
	}
}

func set(table map[string][]string, name string, column int, nr string) {
	if table[name] == nil {
		table[name] = slices.Repeat([]string{"-"}, len(arches))
	}
	table[name][column] = nr
}

func render(table map[string][]string, version string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# Made by gen.go from golang.org/x/sys %s; do not edit.\n# name %s\n", version, strings.Join(arches, " "))
	for _, name := range slices.Sorted(maps.Keys(table)) {
		fmt.Fprintf(&b, "%s %s\n", name, strings.Join(table[name], " "))
	}
	return []byte(b.String())
}
