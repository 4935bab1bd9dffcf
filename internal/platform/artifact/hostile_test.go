package artifact_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/artifact"
)

// attack is a hostile archive and what is said of it, under limits of 10,000
// bytes, 20 files and directories, and a ratio of 200 from 1 MiB on.
type attack struct {
	data []byte
	says string
}

func hostile(t testing.TB) map[string]attack {
	t.Helper()
	all := map[string]attack{}
	for _, some := range []map[string]attack{wrongNames(t), wrongEntries(t), tooLarge(t), broken(t)} {
		maps.Copy(all, some)
	}
	return all
}

func wrongNames(t testing.TB) map[string]attack {
	t.Helper()
	return map[string]attack{
		"an absolute path": {archive(t, file("/etc/passwd", "x")), `Entry "/etc/passwd" has an absolute path.`},
		"a climbing path":  {archive(t, file("../x", "x")), `Entry "../x" has "." or ".." in its path.`},
		"climbing in the middle": {
			archive(t, file("a/../../x", "x")),
			`Entry "a/../../x" has "." or ".." in its path.`,
		},
		"climbing at the end":  {archive(t, dir("a/..")), `Entry "a/.." has "." or ".." in its path.`},
		"climbing after a dot": {archive(t, file("./../x", "x")), `Entry "../x" has "." or ".." in its path.`},
		"a dot in the middle":  {archive(t, file("a/./x", "x")), `Entry "a/./x" has "." or ".." in its path.`},
		"a file called dot":    {archive(t, file(".", "x")), `Entry "." has "." or ".." in its path.`},
		"no name":              {archive(t, file("", "x")), `Entry "" has an empty name in its path.`},
		"an empty name":        {archive(t, file("a//x", "x")), `Entry "a//x" has an empty name in its path.`},
		"a climbing PAX path": {
			archive(t, block("pax", 'x', 16, "16 path=../../x\n"), file("ok", "x")),
			`Entry "../../x" has "." or ".." in its path.`,
		},
	}
}

// isLink is what is said of links.
const isLink = ` is a link; model data may not contain links ` +
	`(tar --dereference --hard-dereference stores the files themselves).`

func wrongEntries(t testing.TB) map[string]attack {
	t.Helper()
	return map[string]attack{
		"a symbolic link": {
			archive(t, special(tar.TypeSymlink, "l", "/etc"), file("l/x", "x")),
			`Entry "l"` + isLink,
		},
		"a symbolic link within": {
			archive(t, file("a", "A"), special(tar.TypeSymlink, "l", "a")),
			`Entry "l"` + isLink,
		},
		"a hard link": {
			archive(t, special(tar.TypeLink, "h", "/etc/shadow")),
			`Entry "h"` + isLink,
		},
		"a character device": {
			archive(t, special(tar.TypeChar, "null", "")),
			`Entry "null" is a device or a pipe; model data may contain files and directories only.`,
		},
		"a block device": {
			archive(t, special(tar.TypeBlock, "sda", "")),
			`Entry "sda" is a device or a pipe; model data may contain files and directories only.`,
		},
		"a pipe": {
			archive(t, special(tar.TypeFifo, "p", "")),
			`Entry "p" is a device or a pipe; model data may contain files and directories only.`,
		},
		"a kind nobody knows": {
			archive(t, block("odd", 'Z', 0, "")),
			`Entry "odd" is of an unknown kind; model data may contain files and directories only.`,
		},
		"a sparse file": {
			archive(t, sparse(t)),
			`Entry "sparse" is a sparse file; model data may not contain sparse files.`,
		},
		"the same file twice": {archive(t, file("a", "1"), file("./a", "2")), `Entry "a" is there twice.`},
		"a file below a file": {
			archive(t, file("a", "1"), file("a/b", "2")),
			`Entry "a/b" is a file where there is a directory, or the other way round.`,
		},
		"a file over a directory": {
			archive(t, file("a/b", "1"), file("a", "2")),
			`Entry "a" is a file where there is a directory, or the other way round.`,
		},
		"a directory over a file": {
			archive(t, file("a", "1"), dir("a/")),
			`Entry "a" is a file where there is a directory, or the other way round.`,
		},
		"a long name": {archive(t, file(strings.Repeat("n", 256), "x")), `Entry "` + strings.Repeat("n", 120) +
			`…" has a name longer than 255 bytes.`},
		"a long path": {archive(t, file(strings.Repeat("n/", 512)+"x", "x")), `Entry "` +
			strings.Repeat("n/", 60) + `…" has a path longer than 1024 bytes.`},
		"a control character": {
			archive(t, file("a\x1b[2Jb", "x")),
			`Entry "a\x1b[2Jb" has a name with control characters.`,
		},
		"a newline": {archive(t, file("a\nb", "x")), `Entry "a\nb" has a name with control characters.`},
		"a turned reading": {
			archive(t, file("a\u202egnp.exe", "x")),
			`Entry "a\u202egnp.exe" has a name with control characters.`,
		},
		"not UTF-8": {
			archive(t, block("a\xff", '0', 1, "x")),
			`Entry "a\xff" has a name that is not UTF-8.`,
		},
		"NUL in a PAX path": {
			archive(t, block("pax", 'x', 15, "15 path=a\x00b.py\n"), block("ok", '0', 1, "x")),
			"The archive is damaged or truncated.",
		},
		"a negative size":      {archive(t, block("a", '0', -5, "x")), "The archive is damaged or truncated."},
		"a header of nonsense": {zip(t, bytes.Repeat([]byte("nonsense"), 200)), "The archive is damaged or truncated."},
	}
}

func tooLarge(t testing.TB) map[string]attack {
	t.Helper()
	many := func(n int, name func(i int) member) []byte {
		var list []member
		for i := range n {
			list = append(list, name(i))
		}
		return archive(t, list...)
	}
	x := strings.Repeat("x", 5000)
	good := plain(t, true, file("a", "A"))
	return map[string]attack{
		"too many files": {
			many(21, func(i int) member { return file(fmt.Sprint(i), "") }),
			`Entry "20" is one too many: model data may have 20 files and directories.`,
		},
		"too many parents": {archive(t, file(strings.Repeat("d/", 20)+"x", "")), `Entry "` +
			strings.Repeat("d/", 20) + `x" is one too many: model data may have 20 files and directories.`},
		"too many repeats": {
			many(50, func(int) member { return dir("d") }),
			`Entry "d" is one too many: the archive has more than 40 entries.`,
		},
		"too many bytes": {
			archive(t, file("a", x), file("b", x), file("c", "1")),
			`Entry "c" makes the model data larger than 10000 bytes, the limit for unpacked model data.`,
		},
		"a size that is a lie": {
			zip(t, plain(t, false, block("a", '0', 1<<33-1, "x"))),
			`Entry "a" makes the model data larger than 10000 bytes, the limit for unpacked model data.`,
		},
		"a bomb of one file": {
			zip(t, plain(t, false, block("a", '0', 1<<33-1, "")), make([]byte, 4<<20)),
			`Entry "a" makes the model data larger than 10000 bytes, the limit for unpacked model data.`,
		},
		"a bomb after the end": {
			zip(t, good, make([]byte, 8<<20)),
			"The archive unpacks to more than 200 times its size.",
		},
		"a header bomb": {
			archive(t, block("pax", 'x', 2<<20, strings.Repeat("x", 2<<20)), file("a", "A")),
			"The archive is damaged or truncated.",
		},
		"many header bombs": {
			many(20, func(int) member {
				return pax(dir("d"), map[string]string{"comment": strings.Repeat("x", 800<<10)})
			}),
			"The archive unpacks to more than 10000 bytes, the limit for unpacked model data.",
		},
	}
}

func broken(t testing.TB) map[string]attack {
	t.Helper()
	good := plain(t, true, file("a", "A"))
	return map[string]attack{
		"a size without content": {
			zip(t, plain(t, false, block("a", '0', 600, "x"))),
			"The archive is damaged or truncated.",
		},
		"no end mark": {
			zip(t, plain(t, false, file("a", "A"))),
			"The archive is truncated: its end mark is missing.",
		},
		"half an end mark": {
			zip(t, plain(t, false, file("a", "A")), make([]byte, 512)),
			"The archive is truncated: its end mark is missing.",
		},
		"nothing but compression": {zip(t), "The archive is truncated: its end mark is missing."},
		"nothing at all":          {nil, "The model data is not a gzip-compressed tar archive."},
		"not compressed":          {good, "The model data is not a gzip-compressed tar archive."},
		"cut in the compression":  {goodArchive(t)[:60], "The archive is damaged or truncated."},
		"cut in the checksum":     {goodArchive(t)[:len(goodArchive(t))-5], "The archive is damaged or truncated."},
		"a wrong checksum":        {flip(goodArchive(t), -6), "The archive is damaged or truncated."},
		"a wrong length":          {flip(goodArchive(t), -2), "The archive is damaged or truncated."},
		"data after the tar":      {zip(t, good, []byte("more")), "The archive has data after its end."},
		"a tar after the tar":     {zip(t, good, good), "The archive has data after its end."},
		"garbage after the gzip": {
			append(archive(t, file("a", "A")), "garbage, and more"...),
			"The archive has data after the end of its gzip stream.",
		},
		"zeros after the gzip": {
			append(archive(t, file("a", "A")), make([]byte, 512)...),
			"The archive has data after the end of its gzip stream.",
		},
		"a tar in each of two gzip members": {
			append(archive(t, file("a", "A")), archive(t, file("b", "B"))...),
			"The archive has data after its end.",
		},
		"a damaged second gzip member": {
			append(zip(t, good[:700]), flip(zip(t, good[700:]), -6)...), "The archive is damaged or truncated.",
		},
		"half a second gzip member": {
			append(zip(t, good[:700]), zip(t, good[700:])[:15]...), "The archive is damaged or truncated.",
		},
		"cut in the padding":    {zip(t, good[:700]), "The archive is truncated: its end mark is missing."},
		"cut after the padding": {zip(t, good[:1024]), "The archive is truncated: its end mark is missing."},
		"cut in the end mark":   {zip(t, good[:1600]), "The archive is damaged or truncated."},
	}
}

// sparse is what GNU tar makes of a large hole.
func sparse(t testing.TB) member {
	t.Helper()
	records := "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n26 GNU.sparse.name=sparse\n31 " +
		"GNU.sparse.realsize=1000000\n"
	header := block("pax", 'x', int64(len(records)), records)
	data := "1\n0\n1\n" + strings.Repeat("\x00", 506) + "x"
	body := block("GNUSparseFile.0/sparse", '0', int64(len(data)), data)
	return member{raw: append(header.raw, body.raw...)}
}

func flip(b []byte, at int) []byte {
	b[len(b)+at] ^= 0x55
	return b
}

func TestHostileArchivesAreRefusedAndLeaveNothing(t *testing.T) {
	for name, c := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			s := newStore(map[string]string{"b/model.tar.gz": string(c.data)})
			dir := t.TempDir()
			cache := open(t, artifact.Config{Source: s, Dir: dir, MaxUnpacked: 10_000, MaxFiles: 20})
			_, err := cache.Fetch(t.Context(), archiveAt("s3://b/model.tar.gz"))
			kind, public := fault.Public(err)
			if strings.Contains(c.says, "times its size") { // Config's ratio counts from 256 MiB on; see below
				c.says = "The archive unpacks to more than 10000 bytes, the limit for unpacked model data."
			}
			if kind != fault.Invalid || public != c.says {
				t.Errorf("%v: %s\nwant %s\n(%v)", kind, public, c.says, err)
			}
			wantNothingLeft(t, dir)
			if err := unpackInto(t, c.data, t.TempDir()); err == nil {
				t.Error("it was unpacked")
			}
		})
	}
}

func unpackInto(t testing.TB, data []byte, dir string) error {
	_, _, err := artifact.UnpackInto(t.Context(), bytes.NewReader(data), dir, 10_000, 20, 200, 1<<20)
	return err
}

func TestAnArchiveMayNotGrowWithoutMeasure(t *testing.T) {
	zeros := archive(t, file("zeros", strings.Repeat("\x00", 4<<20)))
	for ratio, ok := range map[int64]bool{100: false, 2000: true} {
		_, _, err := artifact.UnpackInto(t.Context(), bytes.NewReader(zeros), t.TempDir(), 1<<30, 10, ratio, 1<<20)
		if _, public := fault.Public(err); ok != (err == nil) || !ok &&
			public != fmt.Sprintf("The archive unpacks to more than %d times its size.", ratio) {
			t.Errorf("ratio %d: %v", ratio, err)
		}
	}
}

func TestUnusualButHarmlessArchivesAreTaken(t *testing.T) {
	good := plain(t, true, file("a", "A"), file("b", "B"))
	for name, data := range map[string][]byte{
		"two gzip members":        slices.Concat(zip(t, good[:700]), zip(t, good[700:])),
		"many, and empty ones":    slices.Concat(zip(t), zip(t, good[:1]), zip(t), zip(t, good[1:]), zip(t), zip(t)),
		"zeros in a member":       slices.Concat(zip(t, good), zip(t, make([]byte, 512))),
		"no entries":              archive(t),
		"padding to a tape block": zip(t, plain(t, true, file("a", "A")), make([]byte, 8192)),
		"names in any language":   archive(t, file("模型/重み.bin", "x"), file("modèle\u0301 🙂", "y")),
		"lookalikes of dots":      archive(t, file("․․/․", "x"), file("...", "y"), file("..a/a..", "z")),
		"a long PAX path":         archive(t, file(strings.Repeat("n", 200)+"/"+strings.Repeat("m", 200), "x")),
		"a GNU long name": archive(t,
			member{Header: tar.Header{Name: strings.Repeat("n", 200), Typeflag: tar.TypeReg, Format: tar.FormatGNU}}),
		"an old tar": archive(t, block("old", 0, 1, "x")),
		"everything at its limit": archive(t, file("a", strings.Repeat("x", 10_000)), dir("b"),
			file(strings.Repeat("n", 255), "")),
	} {
		if err := unpackInto(t, data, t.TempDir()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// checkUnpacked looks for anything that an archive may not do, whatever unpack
// said of it.
func checkUnpacked(t *testing.T, data []byte, bytesMax, ratioFree int64) {
	parent := t.TempDir()
	inside := filepath.Join(parent, "inside")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	size, count, err := artifact.UnpackInto(t.Context(), bytes.NewReader(data), inside, bytesMax, 20, 200, ratioFree)
	if kind, _ := fault.Public(err); err != nil && kind != fault.Invalid {
		t.Errorf("the archive is blamed on this server: %v", err)
	}
	if beside, err := os.ReadDir(parent); err != nil || len(beside) != 1 {
		t.Errorf("beside the directory: %v, %v", beside, err)
	}
	var gotSize int64
	gotCount, all := 0, 0
	walked := filepath.WalkDir(inside, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == inside {
			return err
		}
		all++
		st, err := d.Info()
		if err != nil || d.IsDir() {
			return err
		}
		if m := st.Mode(); m != 0o444 && m != 0o555 {
			t.Errorf("%q has mode %v", path, m)
		}
		if wrong := artifact.CheckPath(strings.TrimPrefix(path, inside+"/")); wrong != "" {
			t.Errorf("%q %s", path, wrong)
		}
		gotCount++
		gotSize += st.Size()
		return nil
	})
	if walked != nil || gotSize > bytesMax || all > 20 {
		t.Errorf("%d files and directories, %d bytes, %v", all, gotSize, walked)
	}
	if err == nil && (gotSize != size || gotCount != count) {
		t.Errorf("said %d files, %d bytes; made %d, %d", count, size, gotCount, gotSize)
	}
	if err := errors.Join(artifact.RemoveTree(inside)); err != nil {
		t.Error(err)
	}
}

func FuzzUnpackGzip(f *testing.F) {
	for _, c := range hostile(f) {
		if len(c.data) < 1<<20 {
			f.Add(c.data)
		}
	}
	f.Add(goodArchive(f))
	f.Fuzz(func(t *testing.T, data []byte) { checkUnpacked(t, data, 10_000, 1<<20) })
}

// FuzzUnpackTar reaches further: what it makes up is a tar stream.
func FuzzUnpackTar(f *testing.F) {
	f.Add(plain(f, true, dir("a/"), file("a/b", "B"), file("c", "C")))
	f.Add(plain(f, true, pax(file("p", "P"), map[string]string{"path": "q/r", "comment": "x"})))
	f.Add(plain(f, true,
		member{Header: tar.Header{Name: strings.Repeat("n", 200), Typeflag: tar.TypeReg, Format: tar.FormatGNU}}))
	f.Add(plain(f, true, sparse(f)))
	f.Add(plain(f, true, special(tar.TypeSymlink, "l", "../.."), file("l/x", "X")))
	f.Add(plain(f, true, special(tar.TypeLink, "h", "/etc/passwd")))
	f.Add(plain(f, false, file("a", "A")))
	f.Fuzz(func(t *testing.T, data []byte) { checkUnpacked(t, zip(t, data), 10_000, 1<<20) })
}

func FuzzPathsThatPassStayInside(f *testing.F) {
	for _, s := range []string{"a/b", "../a", "a/..", "/a", "./a", "a//b", "․․/a", "a\x00b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if artifact.CheckPath(path) == "" &&
			(!filepath.IsLocal(path) || filepath.Clean(path) != path || len(path) > 1024) {
			t.Errorf("%q passed", path)
		}
	})
}
