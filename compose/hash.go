package compose

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/cleat-project/cleat/spec"
)

// dockerHash is the hash of a service that Docker's compose labels containers
// with: of its JSON without what can change in a container that goes on.
func dockerHash(s types.ServiceConfig) (string, error) {
	s.Build, s.PullPolicy, s.Scale, s.DependsOn, s.Profiles = nil, "", nil, nil, nil
	if s.Deploy != nil {
		d := *s.Deploy
		d.Replicas = nil
		s.Deploy = &d
	}
	return sumOf(s)
}

// sum is the hash of what the engine is asked for. Unlike Docker's it sees what
// a service takes from elsewhere: names of networks and volumes, profiles, files.
func (w *wanted) sum() (string, error) {
	return sumOf(struct {
		Container    spec.Container
		Image        string
		Platform     string
		Networks     any
		NoEntrypoint bool
		VolumesFrom  []string
		Log          []string
		Files        []injected
		Hooks        any
		SecretData   map[string][]byte `json:",omitempty"`
	}{
		w.create.Container, w.create.Image, w.create.Platform, w.create.Networks, w.create.NoEntrypoint, w.create.VolumesFrom,
		append(append([]string{w.create.LogTag}, w.create.LogLabels...), w.create.LogEnv...), w.files, w.hooks, w.create.SecretData,
	})
}

func sumOf(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode for its hash: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
