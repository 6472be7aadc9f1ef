package image

import (
	"context"
	"io"
	"time"
)

// Image is what the store knows of one image. It is a value of its own: changing
// it changes nothing in the store.
type Image struct {
	ID             Digest      // digest of the configuration, as in Docker
	ManifestDigest Digest      // of the manifest as it came from registry or archive
	References     []Reference // tags, sorted; empty if the image is dangling
	RepoDigests    []Reference // repository@digest under which the image was pulled, sorted
	Created        time.Time   // as the image's author says; zero if not told
	SizeBytes      int64       // of the files of all layers
	Platform       Platform
	Author         string
	Comment        string
	Config         Config
	Layers         []Digest // diff ids, the lowest first; Store.LayerDir gives their directories
	History        []HistoryEntry
}

// PulledDigest is the digest under which the registry of ref has the image.
func (i Image) PulledDigest(ref Reference) Digest {
	for _, d := range i.RepoDigests {
		if d.Repository() == ref.Repository() {
			return d.Digest()
		}
	}
	return i.ManifestDigest
}

// Layer is one step of Image.History with what it added.
type Layer struct {
	HistoryEntry
	DiffID    Digest // "" for a step without a layer
	SizeBytes int64  // of its files; 0 for a step without a layer
}

// Unpacker writes the uncompressed layer tar to dir, which exists and is empty,
// in overlayfs form (whiteouts as character devices 0:0, opaque directories by
// xattr), and returns what its files hold. It need not read the tar to its end and
// need not flush to disk. It is called for several layers at the same time.
type Unpacker func(ctx context.Context, tar io.Reader, dir string) (sizeBytes int64, err error)

// Phase is the state of one layer while an image arrives or leaves.
type Phase int

// The phases in the order in which a layer goes through them; Exists is the only
// one of a layer that is pulled though the store has it already.
const (
	Waiting Phase = iota
	Downloading
	Extracting
	Exists
	Done

	// The phases of a layer that is pushed; it ends in one of the last three.
	Preparing
	Pushing
	Pushed
	AtTarget // the repository has it already
	Mounted  // the registry has taken it from another repository, see Event.From
)

// String returns the phase in Docker's words.
func (p Phase) String() string {
	switch p {
	case Waiting:
		return "Waiting"
	case Downloading:
		return "Downloading"
	case Extracting:
		return "Extracting"
	case Exists:
		return "Already exists"
	case Done:
		return "Pull complete"
	case Preparing:
		return "Preparing"
	case Pushing:
		return "Pushing"
	case Pushed:
		return "Pushed"
	case AtTarget:
		return "Layer already exists"
	case Mounted:
		return "Mounted"
	}
	return "Unknown"
}

// Event tells how far a layer has come. Downloading and Extracting come
// repeatedly, also for the same layer alternately, because a layer is unpacked
// while it arrives.
type Event struct {
	Layer   Digest // of the compressed blob; its Short form is what Docker shows
	Phase   Phase
	Current int64  // bytes of the compressed blob downloaded, unpacked or uploaded so far
	Total   int64  // size of the compressed blob in bytes; 0 if not known
	From    string // repository that a Mounted layer was taken from
}

// Progress receives events. It is called from several goroutines at a time,
// must not block for long, and may be nil.
type Progress func(Event)

// Send calls p unless it is nil.
func (p Progress) Send(e Event) {
	if p != nil {
		p(e)
	}
}
