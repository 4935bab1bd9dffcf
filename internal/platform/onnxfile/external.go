package onnxfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// CheckExternal checks that the data that a model keeps in other files is there:
// in regular files right beside the model, in dir, that are long enough. The
// names come from the model, which is hostile.
func CheckExternal(dir string, refs []External) error {
	sizes := map[string]int64{}
	for _, e := range refs {
		size, known := sizes[e.Location]
		if !known {
			info, err := lstatBeside(dir, e.Location)
			if err != nil {
				return err
			}
			size = info.Size()
			sizes[e.Location] = size
		}
		if e.Offset > size || e.Length > size-e.Offset {
			return fmt.Errorf("the file %.200q is too short for the data that the model has in it", e.Location)
		}
	}
	return nil
}

func lstatBeside(dir, name string) (fs.FileInfo, error) {
	missing := fmt.Errorf("its data lies in the file %.200q, which is not beside the model", name)
	if filepath.Base(name) != name || name == "." || name == ".." {
		return nil, missing
	}
	info, err := os.Lstat(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, missing
	}
	return info, err
}
