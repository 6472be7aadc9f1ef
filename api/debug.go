package api

import (
	"net/http"
	"runtime"
	"strings"
)

// debugAnswer tells what this process uses; Docker's /debug/vars has more.
type debugAnswer struct {
	Goroutines int    `json:"goroutines"`
	HeapBytes  uint64 `json:"heap_bytes"`
	Stacks     string `json:"stacks"` // of all goroutines, where they are
}

// debugVars tells what this process uses, if it was started to tell.
func (s *Server) debugVars(w http.ResponseWriter, _ *request) error {
	if !s.opt.Debug {
		return pageNotFound
	}
	runtime.GC() // what is left is what is kept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	buf := make([]byte, 1<<20)
	return ok(w, debugAnswer{runtime.NumGoroutine(), m.HeapAlloc, strings.ToValidUTF8(string(buf[:runtime.Stack(buf, true)]), "")})
}
