package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-ml/slipway/models"
)

// A model that is wrong on one class, and one that is slow, are taken back though
// nobody copies requests and every answer is 200: by boto3 and real processes. One
// that is as good passes the same gates.
func TestModelsThatAnswerOtherThingsOrSlowlyAreTakenBack(t *testing.T) {
	s := startServer(t)
	dir := t.TempDir()
	for name, archive := range map[string][]byte{
		"v2": models.Archive("v2"), "v4": models.Archive("v4"),
		"slow": models.Trial("slow"), "again": models.Trial("again"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".tar.gz"), archive, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	images, err := filepath.Abs("../../models/test.csv")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(s.client(python(t), "testdata/py/unlike.py", dir, images))
	s.stop()
}
