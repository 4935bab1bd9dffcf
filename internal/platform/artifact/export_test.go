package artifact

import (
	"context"
	"io"
)

// UnpackInto unpacks with limits of a test's choice; 0 for free means that the
// ratio counts from the first byte.
func UnpackInto(ctx context.Context, r io.Reader, dir string, bytes int64, files int, ratio, free int64) (int64, int,
	error,
) {
	return unpack(ctx, r, dir, limits{bytes: bytes, files: files, ratio: ratio, free: free})
}

// CheckPath is what is wrong with a path.
func CheckPath(path string) string { return checkPath(path) }

// RemoveTree removes a directory whose directories may be read-only.
func RemoveTree(dir string) error { return removeTree(dir) }
