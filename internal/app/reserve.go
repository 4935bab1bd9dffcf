package app

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// reserveBytes is the room that the data directory keeps for a start: SQLite
// cannot even be read without a little.
const reserveBytes = 4 << 20

func reserveFile(dir string) string { return filepath.Join(dir, "reserve") }

// free returns how much room a directory's disk has, in bytes.
func free(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// useReserve gives a start on a full disk the room that was kept for it.
func useReserve(dir string) (used bool) {
	room, err := free(dir)
	return err == nil && room < reserveBytes && os.Remove(reserveFile(dir)) == nil
}

// keepReserve keeps room for the next start, if there is more than enough.
func keepReserve(dir string) error {
	path := reserveFile(dir)
	if info, err := os.Stat(path); err == nil && info.Size() == reserveBytes {
		return nil
	}
	if room, err := free(dir); err != nil || room < 4*reserveBytes {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, reserveBytes)
	if errors.Is(err, unix.EOPNOTSUPP) { // then it has to be written
		_, err = f.Write(make([]byte, reserveBytes))
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		_ = os.Remove(path) // less than was asked for is no reserve
	}
	return err
}

// ReplaceFile writes a file in one step: a reader sees all of it, and on a full
// disk the old one stays.
func ReplaceFile(path string, content []byte, mode os.FileMode) error {
	err := os.WriteFile(path+".new", content, mode)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		_ = os.Remove(path + ".new") // half a file helps nobody
	}
	return err
}
