package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-ml/slipway/models"
)

// Models that answer everything in time with 200, and are wrong: each is found by
// the gate that looks for what is wrong with it, by boto3 and real processes, and one
// that is as good as the old one passes the same gates.
func TestEveryBrokenModelIsCaughtByTheGateThatShould(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	dir := t.TempDir()
	put := func(name string, archive []byte) {
		if err := os.WriteFile(filepath.Join(dir, name+".tar.gz"), archive, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range models.Versions() {
		put(name, models.Archive(name))
	}
	for _, name := range models.Trials() {
		put(name, models.Trial(name))
	}
	images, err := filepath.Abs("../../models/test.csv")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(s.client(python(t), "testdata/py/broken.py", dir, images))
	s.stop()
}
