package main

import (
	"bufio"
	"fmt"
	"strings"
)

// confirm warns and asks whether to go on. Only "y" and "yes" do.
func (c *cli) confirm(warning string) bool {
	fmt.Fprintf(c.out, "WARNING! %s\nAre you sure you want to continue? [y/N] ", warning)
	line, _ := bufio.NewReader(c.in).ReadString('\n') // the end of the input is no consent
	if !strings.HasSuffix(line, "\n") {
		fmt.Fprintln(c.out)
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}
