package engine

import (
	"strconv"

	"github.com/cleat-project/cleat/journal/event"
)

// tellPruned tells that objects of a type nobody uses were removed, and how many
// bytes that gave back. As in Docker the event is about no object.
func (e *Engine) tellPruned(kind event.Type, p Pruned) {
	e.tell(kind, event.Prune, "", map[string]string{"reclaimed": strconv.FormatInt(p.Bytes, 10)})
}
