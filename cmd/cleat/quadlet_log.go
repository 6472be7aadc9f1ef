package main

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// Where a generator can say something: nobody reads its stderr, see
// systemd.generator(7). At boot the journal is not there yet, and later shows what
// the kernel's log has.
const (
	journalSocket = "/run/systemd/journal/socket"
	kernelLog     = "/dev/kmsg" // in an embedded host, its boot log
)

// logProblems writes what is wrong with files where an administrator looks for it.
// There is nothing to be done if that fails.
func logProblems(errs errorList) {
	conn, err := net.Dial("unixgram", journalSocket)
	if err == nil {
		defer conn.Close()
		for _, e := range errs {
			_, _ = fmt.Fprintf(conn, "PRIORITY=3\nSYSLOG_IDENTIFIER=%s\nMESSAGE=%s\n", generatorName, oneLine(e))
		}
		return
	}
	kmsg, err := os.OpenFile(kernelLog, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return
	}
	defer kmsg.Close()
	for _, e := range errs {
		_, _ = fmt.Fprintf(kmsg, "<27>%s[%d]: %s\n", generatorName, os.Getpid(), oneLine(e)) // an error of a daemon
	}
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", " ") }
