package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// Why whole families of Docker's commands are refused.
const (
	noTLS         = "is not supported: cleat reaches other machines with ssh; TLS is for Docker's client and 'cleat serve'"
	noBundles     = "is not supported: a context is no more than a name, a description and a host; create it there"
	noCheckpoints = "is not supported: containers cannot be checkpointed"
	noPlugins     = "is not supported: cleat has no plugins"
	noSwarm       = "is not supported: cleat manages one machine; 'cleat compose' is for services of several containers"
	noNotary      = "is not supported: /etc/cleat/policy.yaml says whose signatures images need"
	noLists       = "is not supported: images are for one platform; only 'cleat manifest inspect' is there"
)

// refusedGlobal are the flags of docker itself that are refused.
var refusedGlobal = []refusedFlag{
	{name: "debug", short: "D", reason: "is not supported: what went wrong is in the message, and in the journal", isBool: true, harmless: "false"},
	{name: "log-level", short: "l", reason: "is not supported: cleat writes no log of its own", harmless: "info"},
	{name: "tls", reason: noTLS, isBool: true, harmless: "false"},
	{name: "tlscacert", reason: noTLS},
	{name: "tlscert", reason: noTLS},
	{name: "tlskey", reason: noTLS},
	{name: "tlsverify", reason: noTLS, isBool: true, harmless: "false"},
}

// refusedVerb is one of Docker's commands that cleat knows and does not have.
type refusedVerb struct{ name, reason string }

var refusedVerbs = []refusedVerb{
	{"buildx", "is not supported: 'cleat build' has what is there of it"},
	{"checkpoint", noCheckpoints},
	{"config", noSwarm},
	{"node", noSwarm},
	{"plugin", noPlugins},
	{"secret", "is not supported: give files and systemd credentials to containers with 'cleat run --secret'"},
	{"service", noSwarm},
	{"stack", noSwarm},
	{"swarm", noSwarm},
	{"trust", noNotary},
}

// refusedContext are the members of docker context that are refused.
var refusedContext = []refusedVerb{
	{"export", noBundles},
	{"import", noBundles},
}

// refusedManifest are the members of docker manifest that are refused.
var refusedManifest = []refusedVerb{
	{"annotate", noLists},
	{"create", noLists},
	{"push", noLists},
	{"rm", noLists},
}

// refusedCommands returns commands that are not shown, and fail with their reason
// whatever comes after them.
func refusedCommands(table []refusedVerb) []*cobra.Command {
	cmds := make([]*cobra.Command, 0, len(table))
	for _, v := range table {
		cmds = append(cmds, &cobra.Command{
			Use: v.name, Short: "Not supported", Hidden: true, DisableFlagParsing: true, Args: cobra.ArbitraryArgs,
			Annotations: map[string]string{placeKey: placeAnywhere},
			RunE: func(cmd *cobra.Command, _ []string) error {
				return fmt.Errorf("'%s' %s", cmd.CommandPath(), v.reason)
			},
		})
	}
	return cmds
}
