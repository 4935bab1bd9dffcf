package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// maxBody bounds what one invocation may hold: the API's 6 MiB and newer 25 MB
// both fit.
const maxBody = 64 << 20

type model struct {
	name      string
	dir       string
	ready     time.Time
	pingsGood int64 // -1: all
	crashAt   int64 // -1: never
	status    int   // of the answers, for
	percent   int64 // so many of a hundred
	journal   *os.File

	pings, invocations atomic.Int64
}

// ask is what one invocation may ask for.
type ask struct {
	SleepMS    int    `json:"sleep_ms"`    // before the answer's head
	Status     int    `json:"status"`      // of the answer; 200 if 0
	Chunks     int    `json:"chunks"`      // answer "chunk <i>\n" so many times, flushing each
	ChunkMS    int    `json:"chunk_ms"`    // pause before each chunk after the first
	AbortAfter int    `json:"abort_after"` // break the connection after so many chunks
	Bytes      int    `json:"bytes"`       // answer so many bytes "x"
	Echo       int    `json:"echo"`        // 1: answer the body and its content type
	LS         int    `json:"ls"`          // 1: answer the model directory's files, one path a line
	Crash      int    `json:"crash"`       // 1: exit with status 3, unanswered
	Reset      int    `json:"reset"`       // 1: break the connection, unanswered
	Custom     string `json:"custom"`      // X-Amzn-SageMaker-Custom-Attributes of the answer
}

// answer is the body of an invocation that asked for nothing else.
type answer struct {
	Name   string `json:"name"`
	PID    int    `json:"pid"`
	N      int64  `json:"n"`     // invocations so far, this one included
	Bytes  int    `json:"bytes"` // of the request's body
	ID     string `json:"id,omitempty"`
	Accept string `json:"accept,omitempty"`
}

func (m *model) ping(w http.ResponseWriter, _ *http.Request) {
	n := m.pings.Add(1)
	switch {
	case time.Now().Before(m.ready):
		http.Error(w, "loading", http.StatusServiceUnavailable)
	case m.pingsGood >= 0 && n > m.pingsGood:
		http.Error(w, "told to fail", http.StatusInternalServerError)
	}
}

func (m *model) invoke(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a, err := parseAsk(r.Header.Get("X-Amzn-SageMaker-Custom-Attributes"), body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	n := m.invocations.Add(1)
	if a.Crash == 1 || (m.crashAt >= 0 && n > m.crashAt) {
		fmt.Fprintln(os.Stderr, "testmodel: crashing as told")
		os.Exit(3)
	}
	if a.Reset == 1 {
		panic(http.ErrAbortHandler)
	}
	if time.Now().Before(m.ready) {
		http.Error(w, "loading", http.StatusServiceUnavailable)
		return
	}
	id := r.Header.Get("X-Amzn-SageMaker-Inference-Id")
	if m.journal != nil {
		// One write in append mode: lines of several instances do not mix.
		if _, err := m.journal.WriteString(id + " " + m.name + "\n"); err != nil {
			http.Error(w, "journal: "+err.Error(), http.StatusInternalServerError)
			return
		}
	}
	if !pause(r.Context(), a.SleepMS) {
		return
	}
	m.answer(w, r, a, body, answer{m.name, os.Getpid(), n, len(body), id, r.Header.Get("Accept")})
}

func (m *model) answer(w http.ResponseWriter, r *http.Request, a ask, body []byte, plain answer) {
	if a.Custom != "" {
		w.Header().Set("X-Amzn-SageMaker-Custom-Attributes", a.Custom)
	}
	status := a.Status
	if status == 0 {
		status = http.StatusOK
		if plain.N*m.percent/100 != (plain.N-1)*m.percent/100 {
			status = m.status
		}
	}
	switch {
	case a.Chunks > 0:
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(status)
		stream(w, r, a)
	case a.Echo == 1:
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		w.WriteHeader(status)
		_, _ = w.Write(body) // a caller that left is not our failure
	case a.Bytes > 0:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.WriteHeader(status)
		_, _ = w.Write(bytes.Repeat([]byte("x"), min(a.Bytes, maxBody))) // as above
	case a.LS == 1:
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(status)
		m.list(w)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(plain) // as above
	}
}

func stream(w http.ResponseWriter, r *http.Request, a ask) {
	rc := http.NewResponseController(w)
	for i := range a.Chunks {
		if a.AbortAfter > 0 && i == a.AbortAfter {
			panic(http.ErrAbortHandler)
		}
		if i > 0 && !pause(r.Context(), a.ChunkMS) {
			return
		}
		if _, err := fmt.Fprintf(w, "chunk %d\n", i); err != nil {
			return
		}
		if err := rc.Flush(); err != nil {
			return
		}
	}
}

func (m *model) list(w io.Writer) {
	_ = filepath.WalkDir(m.dir, func(path string, d fs.DirEntry, err error) error { // errors are listed
		if err != nil {
			_, err = fmt.Fprintln(w, "error:", err)
			return err
		}
		if d.IsDir() {
			return nil
		}
		rel, err := filepath.Rel(m.dir, path)
		if err == nil {
			_, err = fmt.Fprintln(w, rel)
		}
		return err
	})
}

// drain lets what is running end; the provider's SIGKILL bounds it.
func (m *model) drain(srv *http.Server) {
	_ = srv.Shutdown(context.Background()) // nothing better to do on failure than to end
	if m.journal != nil {
		_ = m.journal.Close() // every line was one write
	}
}

// pause waits and reports whether the caller is still there.
func pause(ctx context.Context, ms int) bool {
	if ms <= 0 {
		return true
	}
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
		return true
	case <-ctx.Done():
		return false
	}
}

// parseAsk reads the header, or a body that is a JSON object. A body that is
// something else asks for nothing; an unknown key in the header is an error.
func parseAsk(attributes string, body []byte) (ask, error) {
	var a ask
	if attributes == "" {
		if t := bytes.TrimSpace(body); len(t) > 0 && t[0] == '{' {
			_ = json.Unmarshal(t, &a) // not for us, then
		}
		return a, nil
	}
	numbers := map[string]*int{
		"sleep_ms": &a.SleepMS, "status": &a.Status, "chunks": &a.Chunks, "chunk_ms": &a.ChunkMS,
		"abort_after": &a.AbortAfter, "bytes": &a.Bytes, "echo": &a.Echo, "ls": &a.LS, "crash": &a.Crash,
		"reset": &a.Reset,
	}
	for pair := range strings.SplitSeq(attributes, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if key == "custom" {
			a.Custom = value
			continue
		}
		to, ok := numbers[key]
		if !ok {
			return a, fmt.Errorf("testmodel does not know %q", key)
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return a, fmt.Errorf("testmodel: %s=%q is not a number", key, value)
		}
		*to = n
	}
	return a, nil
}
