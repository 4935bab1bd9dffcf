package formats

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var release = flag.String("release", "", "write testdata/docs/<release>: every document as it is stored now")

// A document that an earlier release stored is decoded without a member left
// over, and is written again with all that it said.
func TestDocumentsOfEarlierReleasesKeepTheirMeaning(t *testing.T) {
	if *release != "" {
		writeDocuments(t, filepath.Join("testdata/docs", *release))
	}
	files, err := filepath.Glob("testdata/docs/v*/*.json")
	if err != nil || len(files) < len(columns)/2 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		name := strings.Replace(strings.TrimSuffix(filepath.Base(path), ".json"), "-", "/", 1)
		of, known := documents()[name]
		if !known {
			t.Errorf("%s: nothing is known to hold it", path)
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			if err := roundTrip(of, line); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

// The same of all rows that servers of earlier releases wrote; and whatever
// looks like JSON in a database is a document that is known here.
func TestRowsOfEarlierReleasesKeepTheirMeaning(t *testing.T) {
	onFilled(t, func(t *testing.T, f filled) {
		at := f.copied(t)
		f.open(t, at) // migrates it
		raw, err := sql.Open(f.raw, at)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		r := &reader{t: t, raw: raw}
		seen := map[string]bool{}
		for column, values := range r.documents(f) {
			of, known := columns[column]
			if !known && foreign[column] == "" {
				t.Errorf("%s holds JSON that no test knows: %.100s", column, values[0])
			}
			seen[column] = true
			for _, text := range values {
				if !known {
					break
				}
				if err := roundTrip(of, []byte(text)); err != nil {
					t.Errorf("%s: %v", column, err)
				}
			}
		}
		for column := range columns {
			if !seen[column] {
				t.Errorf("the filled database has nothing in %s", column)
			}
		}
	})
}

func TestALostNameIsNoticed(t *testing.T) {
	number := reflect.TypeFor[int]()
	before := structOf(field("Kept", number, `json:"kept"`), field("Old", number, `json:"old"`))
	stored := []byte(`{"kept":1,"old":2}`)
	for what, c := range map[string]struct {
		of reflect.Type
		ok bool
	}{
		"the same": {before, true},
		"a field renamed in Go": {structOf(field("Kept", number, `json:"kept"`),
			field("New", number, `json:"old"`)), true},
		"a new field": {structOf(field("Kept", number, `json:"kept"`), field("Old", number, `json:"old"`),
			field("X", number, `json:"x"`)), true},
		"another name":    {structOf(field("Kept", number, `json:"kept"`), field("Old", number, `json:"new"`)), false},
		"a field removed": {structOf(field("Kept", number, `json:"kept"`)), false},
		"another case":    {structOf(field("Kept", number, `json:"kept"`), field("Old", number, `json:"OLD"`)), false},
		"another type": {structOf(field("Kept", number, `json:"kept"`),
			field("Old", reflect.TypeFor[string](), `json:"old"`)), false},
	} {
		if err := roundTrip(c.of, stored); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// roundTrip decodes a stored document strictly, and encodes it again: nothing
// may be lost on either way.
func roundTrip(of reflect.Type, stored []byte) error {
	v := reflect.New(of)
	strict := json.NewDecoder(bytes.NewReader(stored))
	strict.DisallowUnknownFields()
	if err := strict.Decode(v.Interface()); err != nil {
		return fmt.Errorf("%w in %.200s", err, stored)
	}
	again, err := json.Marshal(v.Interface())
	if err != nil {
		return err
	}
	twice := reflect.New(of)
	if err := json.Unmarshal(again, twice.Interface()); err != nil {
		return err
	}
	if diff := cmp.Diff(plain(v.Interface()), plain(twice.Interface())); diff != "" {
		return fmt.Errorf("is not what was written (-read +written):\n%s", diff)
	}
	var was, is any
	if err := json.Unmarshal(stored, &was); err != nil {
		return err
	}
	if err := json.Unmarshal(again, &is); err != nil {
		return err
	}
	return lost("", was, is)
}

// lost tells of the first member that was stored and is written no more, or
// otherwise. One that said nothing may go.
func lost(path string, was, is any) error {
	switch was := was.(type) {
	case map[string]any:
		is, _ := is.(map[string]any)
		for name, w := range was {
			i, ok := is[name]
			if !ok && !nothing(w) && !isReplaced(path+"/"+name) {
				return fmt.Errorf("%s/%s is not written any more; it was %v", path, name, w)
			}
			if err := lost(path+"/"+name, w, i); ok && err != nil {
				return err
			}
		}
		return nil
	case []any:
		is, _ := is.([]any)
		if len(was) != len(is) {
			return fmt.Errorf("%s had %d elements, and has %d", path, len(was), len(is))
		}
		for n, w := range was {
			if err := lost(fmt.Sprintf("%s/%d", path, n), w, is[n]); err != nil {
				return err
			}
		}
		return nil
	}
	if was != is {
		return fmt.Errorf("%s is written as %v; it was %v", path, is, was)
	}
	return nil
}

// replaced are members that are read into others, which say the same.
var replaced = map[string]string{
	"/Exposure/Raw":     "is the count of the one router of Routers",
	"/Exposure/Counter": "is its name",
}

func isReplaced(path string) bool {
	for end := range replaced {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return false
}

func nothing(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return v == nil || v == "" || v == 0.0 || v == false || v == "0001-01-01T00:00:00Z"
}

// documents returns all that is JSON in a database, by column.
func (r *reader) documents(f filled) map[string][]string {
	r.t.Helper()
	found := map[string][]string{}
	for _, column := range r.names(f.columns) {
		table, name, _ := strings.Cut(column, ".")
		for _, text := range r.names(fmt.Sprintf(`select %s from %s order by 1`, name, table)) {
			if !strings.HasPrefix(text, "{") && !strings.HasPrefix(text, "[") || !json.Valid([]byte(text)) {
				continue
			}
			key := column
			if column == "event.doc" {
				key = "event.doc/EndpointStatus"
				if strings.Contains(text, `"state":`) {
					key = "event.doc/DeploymentPhase"
				}
			}
			found[key] = append(found[key], text)
		}
	}
	return found
}

// writeDocuments makes the documents of a new release: for each column and file
// one with every field set, and one with none.
func writeDocuments(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatalf("the documents of a release are written once: %v", err)
	}
	for column, of := range documents() {
		full := reflect.New(of).Elem()
		(&filler{}).fill(full)
		var text bytes.Buffer
		e := json.NewEncoder(&text)
		for _, v := range []any{full.Interface(), reflect.Zero(of).Interface()} {
			if err := e.Encode(v); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, strings.Replace(column, "/", "-", 1)+".json"), text.Bytes(),
			0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// filler sets every field of a value to something that no other field has.
type filler struct{ n int }

func (f *filler) fill(v reflect.Value) {
	f.n++
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Date(2026, 1, 2, 3, 4, 5, f.n*1000, time.UTC)
		return
	case *json.RawMessage:
		*x = json.RawMessage(fmt.Sprintf(`{"Document":%d}`, f.n))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(fmt.Sprint("text ", f.n))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(f.n) + 0.5)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(f.n) % 250)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.n))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Array:
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		f.fill(v.Index(0))
		f.fill(v.Index(1))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		f.fill(key)
		f.fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && v.Type().Field(i).Tag.Get("json") != "-" {
				f.fill(v.Field(i))
			}
		}
	default:
		panic("nothing is known for " + v.Type().String())
	}
}

// The store reads the documents of every release out of its rows, on both
// databases.
func TestTheStoreReadsDocumentsOfEarlierReleases(t *testing.T) {
	releases, err := filepath.Glob("testdata/docs/v*")
	if err != nil || len(releases) == 0 {
		t.Fatal(releases, err)
	}
	onFilled(t, func(t *testing.T, f filled) {
		at := f.copied(t)
		db := f.open(t, at)
		raw, err := sql.Open(f.raw, at)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		for _, dir := range releases {
			written := map[string]any{}
			for column, of := range columns {
				text, found := document(t, dir, column)
				if !found {
					continue
				}
				if _, err := raw.ExecContext(t.Context(), rewriting(column), text); err != nil {
					t.Fatal(column, err)
				}
				v := reflect.New(of)
				if err := json.Unmarshal([]byte(text), v.Interface()); err != nil {
					t.Fatal(column, err)
				}
				written[column] = jsonOf(t, plain(v.Interface()))
				for _, name := range beside[column] {
					delete(written[column].(map[string]any), name)
				}
			}
			read := jsonOf(t, (&reader{t: t, db: db, raw: raw}).everything())
			for column, doc := range written {
				if !within(read, doc) {
					t.Errorf("the store does not read what %s has in %s: %v", dir, column, doc)
				}
			}
		}
	})
}

// beside are the members of documents for which rows have columns of their own,
// which count.
var beside = map[string][]string{"route.doc": {"Version"}, "fleet.doc": {"Modified", "Created", "Name", "Scope"}}

// document returns the document of a release that has every field set.
func document(t *testing.T, dir, column string) (text string, found bool) {
	t.Helper()
	all, err := os.ReadFile(filepath.Join(dir, strings.Replace(column, "/", "-", 1)+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", false // a column of a later release
	}
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ = strings.Cut(string(all), "\n")
	return text, true
}

// rewriting is a statement that puts a document, its argument, into the rows of
// a column; into one row, where the column is part of a key.
func rewriting(column string) string {
	table, name, _ := strings.Cut(column, ".")
	name, kind, _ := strings.Cut(name, "/")
	query := fmt.Sprintf(`update %s set %s = $1 where %s <> ''`, table, name, name)
	switch {
	case table == "series":
		query += ` and id = (select min(id) from series)`
	case kind != "":
		query += ` and kind = '` + kind + `'`
	}
	return query
}

func jsonOf(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return numbers(t, text)
}

// within reports whether something in v has all that doc has.
func within(v, doc any) bool {
	if has(v, doc) {
		return true
	}
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			if within(x, doc) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, func(x any) bool { return within(x, doc) })
	}
	return false
}

func has(v, doc any) bool {
	switch doc := doc.(type) {
	case map[string]any:
		v, ok := v.(map[string]any)
		if !ok {
			return false
		}
		for name, d := range doc {
			if !has(v[name], d) {
				return false
			}
		}
		return true
	case []any:
		v, ok := v.([]any)
		return ok && slices.EqualFunc(v, doc, has)
	}
	return v == doc
}
