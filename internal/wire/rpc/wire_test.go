package rpc_test

import (
	"encoding/hex"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var ids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)

// Each file in testdata holds exchanges: a request, a line of dashes, the
// answer, and a line of equals signs before the next.
func TestTheWire(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.http") // the pattern is well-formed
	if len(files) < 5 {
		t.Fatalf("only %d golden files", len(files))
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			h := newHandler(slog.New(slog.NewTextHandler(t.Output(), nil)))
			var now strings.Builder
			for i, one := range strings.Split(string(b), "\n====\n") {
				request, want, _ := strings.Cut(one, "\n----\n")
				got := exchange(t, h, request)
				if i > 0 {
					now.WriteString("\n====\n")
				}
				now.WriteString(request + "\n----\n" + got)
				if strings.TrimSuffix(got, "\n") != strings.TrimSuffix(want, "\n") && !*update {
					t.Errorf("%s\ngot\n%s\nwant\n%s", request, got, want)
				}
			}
			if *update {
				if err := os.WriteFile(path, []byte(now.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// exchange sends "METHOD path", headers, an empty line and a body, of which the
// line breaks are left out. CBOR is written in hexadecimal, and read as what it
// means.
func exchange(t *testing.T, h http.Handler, request string) string {
	t.Helper()
	head, body, _ := strings.Cut(request, "\n\n")
	lines := strings.Split(head, "\n")
	method, path, _ := strings.Cut(lines[0], " ")
	body = strings.ReplaceAll(body, "\n", "")
	if strings.Contains(head, "application/cbor") {
		b, err := hex.DecodeString(strings.ReplaceAll(body, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		body = string(b)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", w.Code)
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range w.Header() {
			if !yield(name) {
				return
			}
		}
	}) {
		fmt.Fprintf(&b, "%s: %s\n", name, ids.ReplaceAllString(w.Header().Get(name), "UUID"))
	}
	text := w.Body.String()
	if w.Header().Get("Content-Type") == "application/cbor" {
		var err error
		if text, err = cbor.Diagnose(w.Body.Bytes()); err != nil {
			t.Errorf("the answer is not CBOR: %v", err)
		}
	}
	return b.String() + "\n" + ids.ReplaceAllString(text, "UUID") + "\n"
}
