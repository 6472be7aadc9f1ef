package main

import (
	"context"
	"slices"
)

// apiSocket is where cleat answers Docker's clients.
const apiSocket = "unix:///run/cleat/cleat.sock"

// api measures Docker's own client in front of cleat and of dockerd: what users see
// who change nothing but the socket.
func (b *bench) api(ctx context.Context) ([]result, error) {
	clients := []peer{{"docker, cleat", dockerLike("docker", "-H", apiSocket)}}
	if i := slices.IndexFunc(b.peers, func(p peer) bool { return p.name == "docker" }); i >= 0 {
		clients = append(clients, peer{"docker, dockerd", b.peers[i].argv})
	}
	var all []result
	for _, scenario := range []string{"ps", "run", "run-d", "exec"} {
		results, err := interleave(ctx, "api "+scenario, b.rounds, clients, func(p peer) []string { return p.argv(scenario) })
		if err != nil {
			return nil, err
		}
		all = append(all, results...)
	}
	return all, nil
}
