package trips_test

import (
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/trips"
)

var log = slog.New(slog.NewTextHandler(io.Discard, nil))

func open(t *testing.T, path string) (*trips.Keeper, trips.Trips) {
	t.Helper()
	k, had, err := trips.Open(path, log)
	if err != nil {
		t.Fatal(err)
	}
	return k, had
}

func TestWhatWasTakenBackIsKnownToTheNextServerUntilItIsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trips.json")
	at := time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)
	want := trips.Trips{"d-1": {Name: "a", Reason: "too many", Since: at, Taken: at.Add(time.Millisecond)}}
	k, had := open(t, path)
	if len(had) != 0 {
		t.Errorf("at first: %v", had)
	}
	k.Keep(want)
	k, had = open(t, path)
	if !maps.Equal(had, want) {
		t.Errorf("%v, want %v", had, want)
	}
	k.Keep(nil)
	if _, err := os.Stat(path); err == nil {
		t.Error("the file is there though nothing is taken back")
	}
	if _, had = open(t, path); len(had) != 0 {
		t.Errorf("in the end: %v", had)
	}
}

func TestWhatCouldNotBeNotedIsNotedLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	path := filepath.Join(dir, "trips.json")
	k, _ := open(t, path)
	k.Keep(trips.Trips{"d-1": {Name: "a"}}) // there is no such directory
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	k.Keep(trips.Trips{"d-1": {Name: "a"}})
	if _, had := open(t, path); had["d-1"].Name != "a" {
		t.Errorf("%v", had)
	}
}

func TestAFileThatCannotBeUnderstoodKeepsNoServerFromItsModels(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trips.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, had := open(t, path); len(had) != 0 {
		t.Errorf("%v", had)
	}
}
