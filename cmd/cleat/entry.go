//go:build !manual

package main

import (
	"os"
	"path/filepath"

	"github.com/cleat-project/cleat/host"
)

func main() {
	host.Init()
	if filepath.Base(os.Args[0]) == generatorName {
		os.Exit(run(append([]string{"quadlet", "generate"}, os.Args[1:]...)))
	}
	os.Exit(run(os.Args[1:]))
}
