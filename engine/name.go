package engine

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// maxNameLen keeps unit names below systemd's limit of 255 characters with
// room for every prefix and suffix.
const maxNameLen = 200

// reserved are the names whose units would be cleat's own.
var reserved = []string{"apid", "healthd", "host-ready", "netd", "network-restore", "quadlet-sweep", "stdiod"}

// checkName returns an error that wraps spec.ErrInvalid unless name fits
// Docker's rule for container names.
func checkName(name string) error {
	if len(name) < 2 || len(name) > maxNameLen || !isNameStart(name[0]) || strings.IndexFunc(name, notNameRune) >= 0 {
		return fmt.Errorf("container name %q: must be 2 to %d characters of [a-zA-Z0-9_.-], the first a letter or digit: %w", name, maxNameLen, spec.ErrInvalid)
	}
	for _, r := range reserved {
		if name == r {
			return fmt.Errorf("container name %q: cleat-%s.service is a unit of cleat itself, choose another name: %w", name, name, spec.ErrInvalid)
		}
	}
	return nil
}

func isNameStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func notNameRune(r rune) bool {
	return r > 127 || !isNameStart(byte(r)) && r != '_' && r != '.' && r != '-'
}

// newID returns 64 random hex digits. As in Docker, the first 12 are never
// decimal digits alone, because they are the default host name.
func newID() string {
	for {
		var b [32]byte
		_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
		id := hex.EncodeToString(b[:])
		if strings.IndexFunc(id[:12], func(r rune) bool { return r > '9' }) >= 0 {
			return id
		}
	}
}

// The words of generated names: weather and parts of a ship.
var (
	nameLeft = strings.Fields(`able agile bold brave breezy bright brisk calm candid clear clever cozy crisp daring deft eager early easy
		fair fast fine fleet fresh gentle glad golden grand handy happy hardy hearty honest jolly keen kind light lively loyal lucky mellow merry
		mighty misty neat nimble noble patient placid polite proud quick quiet ready salty serene sharp silver smart smooth snug solid sound
		spry stable steady stout sturdy sunny sure swift tidy tranquil true trusty upbeat vivid warm wise witty`)
	nameRight = strings.Fields(`anchor ballast barge beacon berth bilge binnacle block boom bosun bow bowline bowsprit bridge brig buoy cabin
		capstan caravel clipper compass cutter davit deck dinghy dory fathom fender ferry galley gangway gunwale halyard harbor hatch hawser
		helm hitch hull jetty jib keel ketch lanyard lantern lateen locker lugger mainsail mast mizzen mooring oar pier pilot pinnace pontoon
		porthole prow quay rigging rudder schooner sextant shackle sheet shroud skiff sloop spar spinnaker stern tiller topsail transom trawler
		trimaran tugboat wharf winch yacht yawl`)
)

// newName returns a random readable name. From the third attempt on, it has a
// number, so that a full machine does not run out of names.
func newName(attempt int) string {
	name := pick(nameLeft) + "_" + pick(nameRight)
	if attempt >= 3 {
		name += fmt.Sprintf("%d", random(10_000))
	}
	return name
}

func pick(words []string) string { return words[random(len(words))] }

func random(n int) int {
	v, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		return 0 // not reached: see newID
	}
	return int(v.Int64())
}
