package listing

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// NetworkText names the networks that a container is on. In another's network it
// has none of its own.
func NetworkText(n spec.Network) string {
	var names []string
	for _, ep := range n.Endpoints {
		names = append(names, ep.Network)
	}
	if len(names) == 0 && !strings.HasPrefix(n.Mode, "container:") {
		return n.Mode
	}
	return strings.Join(names, ",")
}

// CommandText joins an argument vector; words with spaces are quoted, except
// for the first, as in Docker.
func CommandText(argv []string) string {
	words := slices.Clone(argv)
	for i, w := range words {
		if i > 0 && strings.Contains(w, " ") {
			words[i] = "'" + w + "'"
		}
	}
	return strings.Join(words, " ")
}

// ShortImage is the name of an image without its digest, or a short id.
func ShortImage(img spec.Image) string {
	hex := strings.TrimPrefix(img.ID, "sha256:")
	if ref := strings.TrimPrefix(img.Reference, "sha256:"); len(ref) >= 12 && strings.HasPrefix(hex, ref) {
		return spec.ShortID(hex)
	}
	name, _, _ := strings.Cut(img.Reference, "@")
	return name
}

// healthText is the state of health in the words of ps.
func healthText(h *engine.Health) string {
	switch {
	case h == nil:
		return ""
	case h.Status == "starting":
		return " (health: starting)"
	}
	return " (" + string(h.Status) + ")"
}

// StatusText is the state of a container in the words of ps.
func StatusText(ct engine.Container, now time.Time) string {
	up := func() string { return "Up " + units.HumanDuration(now.Sub(ct.Run.StartedAt)) }
	switch ct.Status {
	case engine.StatusRunning:
		return up() + healthText(ct.Health)
	case engine.StatusPaused:
		return up() + " (Paused)"
	case engine.StatusRestarting:
		return fmt.Sprintf("Restarting (%d) %s", ct.Run.ExitCode, ago(now, ct.Run.FinishedAt))
	case engine.StatusDead:
		return "Dead"
	case engine.StatusSleeping:
		if ct.Run.FinishedAt.IsZero() {
			return "Sleeping"
		}
		return "Sleeping " + units.HumanDuration(now.Sub(ct.Run.FinishedAt))
	case engine.StatusExited:
		if ct.Run.FinishedAt.IsZero() {
			return fmt.Sprintf("Exited (%d)", ct.Run.ExitCode)
		}
		return fmt.Sprintf("Exited (%d) %s", ct.Run.ExitCode, ago(now, ct.Run.FinishedAt))
	case engine.StatusCreated:
	}
	return "Created"
}

func ago(now, t time.Time) string {
	if t.IsZero() {
		return "N/A"
	}
	return units.HumanDuration(now.Sub(t)) + " ago"
}

// Familiar returns a reference as people write it, with its tag.
func Familiar(ref string) string {
	r, err := engine.ParseReference(ref)
	if err != nil {
		return ref
	}
	return r.Familiar()
}
