// Package models carries the sample models and the test set that examples,
// tests and `slipway demo` use: versions of a classifier of handwritten digits,
// each a model.tar.gz as SageMaker takes it. models/train makes them;
// models/data/README.md names the source of the data.
//
// Every version takes the input "image" (FLOAT [batch, 64], pixels from 0 to
// 16) and gives "label" (INT64 [batch]) and "probabilities" (FLOAT [batch,
// 10]).
package models

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed archives/*.tar.gz test.csv
var files embed.FS

//go:embed trials/*.tar.gz
var trials embed.FS

// Versions lists the versions there are: v1 is modest, v2 is good, v3 answers as
// v2 does but fails at run time on about a third of the images, and v4 answers
// all, but never reads an eight, which it has not been shown.
func Versions() []string { return []string{"v1", "v2", "v3", "v4"} }

// Trials lists models that gates are tried on, each v2 but for one thing: again is
// trained anew and as good; bias gives ones too much weight; nan answers images of a
// blank middle with NaN; stale is an early checkpoint; slow takes long over requests
// of many images.
func Trials() []string { return []string{"again", "bias", "nan", "stale", "slow"} }

// Trial returns the model.tar.gz of one of Trials, or nil if there is no such
// one.
func Trial(name string) []byte {
	b, err := trials.ReadFile("trials/digits-" + name + ".tar.gz")
	if err != nil {
		return nil
	}
	return b
}

// Archive returns the model.tar.gz of a version, or nil if there is no such
// version.
func Archive(version string) []byte {
	b, err := files.ReadFile("archives/digits-" + version + ".tar.gz")
	if err != nil {
		return nil
	}
	return b
}

// Model returns the ONNX file of a version, which is all that its archive has,
// or nil if there is no such version.
func Model(version string) []byte { return unpack(Archive(version)) }

// unpack returns the one file of an archive, or nil.
func unpack(archive []byte) []byte {
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil
	}
	r := tar.NewReader(z)
	if _, err := r.Next(); err != nil {
		return nil
	}
	b, _ := io.ReadAll(r) // it is embedded: a test reads every one
	return b
}

// Pack returns a model.tar.gz of files by name. The same files give the same
// bytes.
func Pack(files map[string][]byte) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := tar.Header{
			Name: name, Mode: 0o644, Size: int64(len(files[name])), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
		}
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := w.Write(files[name]); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil { // before the bytes are taken
		return nil, err
	}
	return out.Bytes(), nil
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
