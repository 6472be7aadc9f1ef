package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cleat-project/cleat/build"
)

// jsonLines writes what happens as lines of JSON, each of them what BuildKit calls a
// status of a solve.
type jsonLines struct {
	mu    sync.Mutex
	w     io.Writer
	steps map[int]*jsonVertex
}

type jsonVertex struct {
	Digest    string     `json:"digest"`
	Name      string     `json:"name"`
	Started   *time.Time `json:"started,omitempty"`
	Completed *time.Time `json:"completed,omitempty"`
	Cached    bool       `json:"cached,omitempty"`
	Error     string     `json:"error,omitempty"`
}

type jsonLog struct {
	Vertex    string    `json:"vertex"`
	Stream    int       `json:"stream"`
	Data      []byte    `json:"data"`
	Timestamp time.Time `json:"timestamp"`
}

type jsonStatus struct {
	ID        string    `json:"id"`
	Vertex    string    `json:"vertex"`
	Timestamp time.Time `json:"timestamp"`
	Started   time.Time `json:"started"`
	Completed time.Time `json:"completed"`
}

type jsonWarning struct {
	Level int    `json:"level"`
	Short []byte `json:"short"`
}

// jsonLine is one line.
type jsonLine struct {
	Vertexes []jsonVertex  `json:"vertexes,omitempty"`
	Statuses []jsonStatus  `json:"statuses,omitempty"`
	Logs     []jsonLog     `json:"logs,omitempty"`
	Warnings []jsonWarning `json:"warnings,omitempty"`
}

// event implements shower.
func (j *jsonLines) event(e build.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now().UTC()
	if e.Step == 0 {
		j.write(jsonLine{Warnings: []jsonWarning{{Level: 1, Short: []byte(e.Text)}}})
		return
	}
	v := j.steps[e.Step]
	if v == nil {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", e.Step, e.Title))
		v = &jsonVertex{Digest: "sha256:" + hex.EncodeToString(sum[:]), Name: e.Title, Started: &now}
		j.steps[e.Step] = v
	}
	switch e.Phase {
	case build.Log:
		j.write(jsonLine{Logs: []jsonLog{{Vertex: v.Digest, Stream: 1, Data: []byte(e.Text), Timestamp: now}}})
		return
	case build.Status:
		j.write(jsonLine{Statuses: []jsonStatus{{ID: e.Text, Vertex: v.Digest, Timestamp: now, Started: now, Completed: now}}})
		return
	case build.Started, build.Note, build.Warning:
	case build.Cached, build.Done, build.Failed, build.Canceled:
		v.Completed, v.Cached = &now, e.Phase == build.Cached
		if e.Phase == build.Canceled {
			v.Error = "context canceled"
		}
		if e.Err != nil {
			v.Error = e.Err.Error()
		}
	}
	j.write(jsonLine{Vertexes: []jsonVertex{*v}})
}

func (j *jsonLines) write(line jsonLine) {
	data, err := json.Marshal(line)
	if err == nil { // plain data
		fmt.Fprintf(j.w, "%s\n", data)
	}
}

// close implements shower.
func (*jsonLines) close(error) {}
