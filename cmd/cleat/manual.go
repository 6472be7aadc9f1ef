//go:build manual

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// main, in a build with the tag "manual", writes what packages have beside the
// program: a man page for each command, and the completions for shells. They come
// from the commands themselves, so that they are never out of date; and cleat
// does not carry what makes them.
func main() {
	if err := writeManual(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func writeManual(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("usage: go run -tags manual ./cmd/cleat DIRECTORY NAME DATE")
	}
	dir, name, date := args[0], args[1], args[2]
	c := &cli{out: os.Stdout, err: os.Stderr, lookup: os.LookupEnv}
	root := newRoot(c, nil)
	root.SetContext(ctx)
	if err := writePages(filepath.Join(dir, "man"), root, date); err != nil {
		return err
	}
	_, arguments, _ := strings.Cut(root.Use, " ")
	root.Use = name + " " + arguments // completions hang on the name that is typed
	return writeCompletions(filepath.Join(dir, "completion"), root)
}

func writeCompletions(dir string, root *cobra.Command) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(
		root.GenBashCompletionFileV2(filepath.Join(dir, "bash"), true),
		root.GenZshCompletionFile(filepath.Join(dir, "zsh")),
		root.GenFishCompletionFile(filepath.Join(dir, "fish"), true),
	)
}

// writePages writes the page of cmd and those of the commands below it.
func writePages(dir string, cmd *cobra.Command, date string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, pageName(cmd)+".1"), []byte(page(cmd, date)), 0o644); err != nil {
		return err
	}
	for _, sub := range listed(cmd) {
		if err := writePages(dir, sub, date); err != nil {
			return err
		}
	}
	return nil
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// listed returns the subcommands that the help shows.
func listed(cmd *cobra.Command) (subs []*cobra.Command) {
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			subs = append(subs, sub)
		}
	}
	return subs
}

// page returns the man page of a command.
func page(cmd *cobra.Command, date string) string {
	var b strings.Builder
	name := pageName(cmd)
	fmt.Fprintf(&b, ".TH %s 1 %s cleat \"cleat manual\"\n.nh\n.ad l\n", strings.ToUpper(roff(name)), date)
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(cmd.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n%s\n", synopsis(cmd))
	fmt.Fprintf(&b, ".SH DESCRIPTION\n%s.\n", roff(cmd.Short))
	if cmd.Long != "" {
		b.WriteString(paragraphs(cmd.Long))
	}
	if aliases := cmd.Annotations[aliasesKey]; aliases != "" {
		fmt.Fprintf(&b, ".PP\nOther ways to type it: %s.\n", roff(aliases))
	}
	pageCommands(&b, cmd)
	pageOptions(&b, cmd)
	pageReferences(&b, cmd)
	return b.String()
}

// synopsis sets the words that are typed as they are in bold.
func synopsis(cmd *cobra.Command) string {
	_, arguments, _ := strings.Cut(cmd.Use, " ")
	return strings.TrimSpace(fmt.Sprintf("\\fB%s\\fR %s", roff(cmd.CommandPath()), roff(arguments)))
}

// paragraphs sets text as it stands, since the help wraps it by hand and shows
// examples by indenting them.
func paragraphs(text string) string {
	var b strings.Builder
	for block := range strings.SplitSeq(strings.Trim(text, "\n"), "\n\n") {
		if strings.HasPrefix(block, " ") {
			fmt.Fprintf(&b, ".PP\n.nf\n%s\n.fi\n", roff(block))
		} else {
			fmt.Fprintf(&b, ".PP\n%s\n", roff(block))
		}
	}
	return b.String()
}

// pageCommands lists the subcommands under the headings of the help.
func pageCommands(b *strings.Builder, cmd *cobra.Command) {
	for _, group := range []string{groupCommon, groupManagement, groupOther} {
		heading := fmt.Sprintf(".SH %s\n", strings.ToUpper(group))
		for _, sub := range listed(cmd) {
			if groupOf(sub) == group {
				fmt.Fprintf(b, "%s.TP\n\\fB%s\\fR(1)\n%s.\n", heading, roff(pageName(sub)), roff(sub.Short))
				heading = ""
			}
		}
	}
}

func pageOptions(b *strings.Builder, cmd *cobra.Command) {
	flags := cmd.LocalFlags()
	if !flags.HasAvailableFlags() {
		return
	}
	b.WriteString(".SH OPTIONS\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		short := ""
		if f.Shorthand != "" {
			short = fmt.Sprintf("\\fB\\-%s\\fR, ", f.Shorthand)
		}
		if value != "" {
			value = fmt.Sprintf(" \\fI%s\\fR", roff(value))
		}
		fmt.Fprintf(b, ".TP\n%s\\fB\\-\\-%s\\fR%s\n%s\n", short, roff(f.Name), value, roff(usage))
	})
}

// pageReferences names the pages above and below, which lead to all others.
func pageReferences(b *strings.Builder, cmd *cobra.Command) {
	var refs []string
	if cmd.HasParent() {
		refs = append(refs, pageName(cmd.Parent())+"(1)")
	} else {
		b.WriteString(".SH FILES\n.TP\n\\fI/etc/cleat/cleat.yaml\\fR\nThe configuration, see \\fBcleat.yaml\\fR(5).\n" +
			".TP\n\\fI/var/lib/cleat\\fR\nImages, containers and volumes.\n" +
			".TP\n\\fI/run/cleat\\fR\nSockets and locks.\n")
		refs = append(refs, "cleat.yaml(5)", "cleat-healthd(8)", "cleat-init(8)", "cleat-stdiod(8)", "systemctl(1)", "journalctl(1)")
	}
	for _, sub := range listed(cmd) {
		refs = append(refs, pageName(sub)+"(1)")
	}
	b.WriteString(".SH SEE ALSO\n")
	for i, ref := range refs {
		name, section, _ := strings.Cut(ref, "(")
		comma := ","
		if i == len(refs)-1 {
			comma = ""
		}
		fmt.Fprintf(b, "\\fB%s\\fR(%s%s\n", roff(name), section, comma)
	}
}

// roff returns text so that troff sets it as it is.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "^", `\(ha`, "~", `\(ti`, "`", `\(ga`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
