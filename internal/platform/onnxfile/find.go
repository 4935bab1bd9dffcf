package onnxfile

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// Find returns the model file of a model directory: model.onnx or the only
// other .onnx file in it or, if it has none, of its subdirectory with the
// highest number (1/model.onnx).
func Find(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("the model directory cannot be read: %w", err)
	}
	file, err := pick(dir, entries)
	if file != "" || err != nil {
		return file, err
	}
	version := -1
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && e.IsDir() && strconv.Itoa(n) == e.Name() {
			version = max(version, n)
		}
	}
	if version >= 0 {
		sub := filepath.Join(dir, strconv.Itoa(version))
		inner, err := os.ReadDir(sub)
		if err != nil {
			return "", fmt.Errorf("the model directory cannot be read: %w", err)
		}
		if file, err = pick(sub, inner); file != "" || err != nil {
			return file, err
		}
	}
	return "",
		fmt.Errorf(
			"no .onnx file is in the model directory %s (it holds %s); put model.onnx or 1/model.onnx at the top "+
				"of model.tar.gz", dir, listing(entries),
		)
}

// pick returns model.onnx, the only .onnx file, or "" if there is none.
func pick(dir string, entries []os.DirEntry) (string, error) {
	var found []string
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".onnx") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if e.Name() == "model.onnx" {
			return filepath.Join(dir, e.Name()), nil
		}
		found = append(found, e.Name())
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return filepath.Join(dir, found[0]), nil
	}
	return "", fmt.Errorf(
		"the model directory %s has several models (%s); name the one to serve model.onnx", dir,
		strings.Join(found[:min(len(found), 10)], ", "))
}

func listing(entries []os.DirEntry) string {
	if len(entries) == 0 {
		return "nothing"
	}
	names := make([]string, 0, 10)
	for _, e := range entries[:min(len(entries), 10)] {
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// ReadSignature reads the signature of the model file at path.
func ReadSignature(path string) (tensor.Signature, error) {
	f, err := os.Open(path)
	if err != nil {
		return tensor.Signature{}, err
	}
	defer func() { _ = f.Close() }() // read only
	info, err := f.Stat()
	if err != nil {
		return tensor.Signature{}, err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return tensor.Signature{}, fmt.Errorf("%s is empty or not a regular file", filepath.Base(path))
	}
	// Mapped, not read: weights are most of the file and are skipped.
	b, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		return tensor.Signature{}, fmt.Errorf("map %s: %w", filepath.Base(path), err)
	}
	defer func() { _ = syscall.Munmap(b) }() // a leaked mapping is harmless
	return Signature(b)
}
