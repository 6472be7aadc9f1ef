//go:build !manual

package main

import (
	"os"

	"github.com/cleat-project/cleat/host"
)

func main() {
	host.Init()
	os.Exit(run(os.Args[1:]))
}
