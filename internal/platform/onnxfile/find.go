package onnxfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
func ReadSignature(path string) (g tensor.Signature, err error) {
	err = mapped(path, func(b []byte) (err error) { g, err = Signature(b); return err })
	return g, err
}

// ReadServed reads the signature of the model file at path, and checks the data
// that it keeps in other files.
func ReadServed(path string) (g tensor.Signature, err error) {
	err = mapped(path, func(b []byte) (err error) {
		if g, err = Signature(b); err != nil {
			return err
		}
		var d Description
		if err := d.read(b); err != nil {
			return err
		}
		return CheckExternal(filepath.Dir(path), d.External)
	})
	return g, err
}

// mapped lends f the content of the model file at path. It is mapped, not read:
// weights are most of the file, and are skipped.
func mapped(path string, f func(b []byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // read only
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return fmt.Errorf("%s is empty or not a regular file", filepath.Base(path))
	}
	b, err := syscall.Mmap(int(file.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("map %s: %w", filepath.Base(path), err)
	}
	defer func() { _ = syscall.Munmap(b) }() // a leaked mapping is harmless
	return f(b)
}

// RowsFile is the file beside a model that declares what its rows are:
// {"rows": "independent"}, "dependent" or "tolerant".
const RowsFile = "batching.json"

// ReadRows says what is known of the rows of the model file at path, whose
// signature is g: by the declaration beside it, and by its graph.
func ReadRows(path string, g *tensor.Signature) (tensor.Rows, error) {
	var r tensor.Rows
	err := mapped(path, func(b []byte) error {
		if err := CheckRows(b, g); err != nil {
			r.Mixed = err.Error()
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	r.Declared, err = readDeclared(filepath.Join(filepath.Dir(path), RowsFile))
	return r, err
}

func readDeclared(path string) (tensor.Declared, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return tensor.Undeclared, nil
	}
	if err != nil {
		return tensor.Undeclared, err
	}
	defer func() { _ = f.Close() }() // read only
	var said struct {
		Rows string `json:"rows"`
	}
	d := json.NewDecoder(io.LimitReader(f, 64<<10))
	d.DisallowUnknownFields()
	err = d.Decode(&said)
	switch {
	case err == nil && said.Rows == "independent":
		return tensor.Independent, nil
	case err == nil && said.Rows == "dependent":
		return tensor.Dependent, nil
	case err == nil && said.Rows == "tolerant":
		return tensor.Tolerant, nil
	}
	return tensor.Undeclared, fmt.Errorf(
		`%s must be {"rows": "independent"}, {"rows": "dependent"} or {"rows": "tolerant"}`, RowsFile,
	)
}
