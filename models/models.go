// Package models carries the sample models and the test set that examples,
// tests and `slipway demo` use: three versions of a classifier of handwritten
// digits, each a model.tar.gz as SageMaker takes it. models/train makes them;
// models/data/README.md names the source of the data.
//
// Every version takes the input "image" (FLOAT [batch, 64], pixels from 0 to
// 16) and gives "label" (INT64 [batch]) and "probabilities" (FLOAT [batch,
// 10]).
package models

import (
	"embed"
	"strconv"
	"strings"
)

//go:embed archives/*.tar.gz test.csv
var files embed.FS

// Versions lists the versions there are: v1 is modest, v2 is good, and v3
// answers as v2 does but fails at run time on about a third of the images.
func Versions() []string { return []string{"v1", "v2", "v3"} }

// Archive returns the model.tar.gz of a version, or nil if there is no such
// version.
func Archive(version string) []byte {
	b, err := files.ReadFile("archives/digits-" + version + ".tar.gz")
	if err != nil {
		return nil
	}
	return b
}

// TestSet returns the 500 images that no model was trained on, 64 pixels from 0
// to 16 each, and the digits that they show.
func TestSet() (images [][]float32, labels []int) {
	b, _ := files.ReadFile("test.csv") // it is embedded
	for line := range strings.Lines(string(b)) {
		fields := strings.Split(strings.TrimSpace(line), ",")
		image := make([]float32, len(fields)-1)
		for i := range image {
			n, _ := strconv.Atoi(fields[i]) // a test reads every one
			image[i] = float32(n)
		}
		label, _ := strconv.Atoi(fields[len(fields)-1])
		images, labels = append(images, image), append(labels, label)
	}
	return images, labels
}
