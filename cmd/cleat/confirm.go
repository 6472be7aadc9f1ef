package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"
)

// confirm warns of what a command is about to do and returns whether the user
// wants it. No answer is a no.
func (c *cli) confirm(ctx context.Context, warning string) (bool, error) {
	fmt.Fprintf(c.out, "WARNING! %s\nAre you sure you want to continue? [y/N] ", warning)
	answer := make(chan string, 1)
	go func() { // stays behind if the user interrupts, until the program ends
		line, _ := bufio.NewReader(c.in).ReadString('\n') // what was read before an error counts
		answer <- line
	}()
	select {
	case line := <-answer:
		if !strings.HasSuffix(line, "\n") {
			fmt.Fprintln(c.out)
		}
		word := strings.ToLower(strings.TrimSpace(line))
		return word == "y" || word == "yes", nil
	case <-ctx.Done():
		fmt.Fprintln(c.out)
		return false, context.Cause(ctx)
	}
}
