package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/internal/contexts"
)

const contextLong = `
A context is another machine by name. The commands are run there with ssh, as root
or by way of sudo, so cleat has to be installed there:

  cleat context create prod --docker host=ssh://root@prod.example
  cleat -c prod ps`

// contextPlace is that of all the verbs of contexts, which are the caller's.
func contextPlace() map[string]string { return map[string]string{placeKey: placeAnywhere} }

func newContextCreate(c *cli) *cobra.Command {
	var description, from string
	var docker []string
	cmd := &cobra.Command{
		Use: "create [OPTIONS] CONTEXT", Short: "Create a context", Long: contextLong,
		Annotations: contextPlace(), Args: exactly(1), ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.StringVar(&description, "description", "", "Description of the context")
	fs.StringArrayVar(&docker, "docker", nil, `Set the machine, as "host=ssh://USER@HOST[:PORT]"`)
	asType(fs.Lookup("docker"), "stringToString")
	fs.StringVar(&from, "from", "", "Create the context from another one")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		x := contexts.Context{Name: args[0], Description: description}
		host, err := c.endpoint(docker, from)
		if err != nil {
			return err
		}
		x.Host = host
		if err := c.contexts().Create(cmd.Context(), x); err != nil {
			return err
		}
		fmt.Fprintln(c.out, x.Name)
		fmt.Fprintf(c.err, "Successfully created context %q\n", x.Name)
		return nil
	}
	return cmd
}

// endpoint reads --docker and --from.
func (c *cli) endpoint(docker []string, from string) (string, error) {
	host := ""
	for _, list := range docker {
		for _, field := range strings.Split(list, ",") {
			switch key, value, _ := strings.Cut(field, "="); key {
			case "host":
				host = value
			case "from":
				from = value
			case "ca", "cert", "key", "skip-tls-verify":
				return "", fmt.Errorf("--docker %s %s", key, noTLS)
			default:
				return "", fmt.Errorf("--docker %q: want host=ssh://USER@HOST", field)
			}
		}
	}
	if from != "" {
		x, err := c.contexts().Get(from)
		return x.Host, err
	}
	if host == "" {
		return "", hinted(errors.New("no host given"), "use --docker host=ssh://USER@HOST")
	}
	return host, nil
}

func completeContexts(c *cli) completer {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		list, _, err := c.contexts().List()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for _, x := range list {
			names = append(names, x.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
