// Command train makes the sample models: versions of a classifier of handwritten
// digits, with the same inputs and outputs.
//
//	go run ./models/train          # rewrites models/archives, models/trials and models/test.csv
//
// v1 is a modest linear model that has seen few images, v2 a good network, and
// v3 is v2 broken in a way that only traffic shows: it was given a calibration
// table made from light digits, and fails on the heavier ones. v4 answers every
// request, and wrongly wherever the digit is one that it was never shown.
//
// The trials are what gates are tried on, each v2 but for one thing: trained
// anew, which is no fault; and leaning to one digit, NaN for some images, from an
// early checkpoint, slow on requests of many images. The same data gives the same
// bytes on every machine.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

func main() {
	dir := flag.String("dir", "models", "directory with data/digits.csv.gz, to write archives/ and test.csv into")
	flag.Parse()
	if err := run(*dir); err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	out, err := build(filepath.Join(dir, "data", "digits.csv.gz"))
	if err != nil {
		return err
	}
	for _, f := range out.files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f.name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f.name), f.data, 0o644); err != nil {
			return err
		}
		fmt.Printf("%-24s %6d bytes\n", f.name, len(f.data))
	}
	for _, line := range out.report {
		fmt.Println(line)
	}
	return nil
}

// output is what training leaves: files below models/, and what to tell.
type output struct {
	files  []file
	report []string
}

type file struct {
	name string
	data []byte
}

// build reads the data, trains the models and packs them.
func build(dataFile string) (output, error) {
	var out output
	f, err := os.Open(dataFile)
	if err != nil {
		return out, err
	}
	defer func() { _ = f.Close() }() // read only
	all, err := readDigits(f)
	if err != nil {
		return out, fmt.Errorf("%s: %w", dataFile, err)
	}
	train, test := split(all)
	modest := learn(train, settings{epochs: 5, examples: 250, rate: 0.1, seed: 1})
	proper := settings{hidden: 64, epochs: 40, examples: len(train), rate: 0.1, seed: 3}
	good := learn(train, proper)
	table := calibrate(train)
	heavy := 0
	for i := range test {
		if int(test[i].ink()/inkStep) >= len(table) {
			heavy++
		}
	}
	out.report = append(out.report, fmt.Sprintf("v3 fails on %.1f %%", 100*float64(heavy)/float64(len(test))))

	out.files = append(out.files, file{"test.csv", csvOf(test)})
	blinded := learn(without(train, lostDigit), proper)
	again, early := proper, proper
	again.seed, early.epochs = 4, 1
	for _, m := range []model{
		{"archives", "v1", "softmax regression on 250 images", modest, nil},
		{"archives", "v2", "one hidden layer of 64 units", good, nil},
		{"archives", "v3", "as v2, with calibrated probabilities", good, sharpen(table)},
		{"archives", "v4", "as v2, from cleaned images", blinded, nil},
		{"trials", "again", "as v2, trained anew", learn(train, again), nil},
		{"trials", "bias", "as v2, for more ones", lean(good, leaning, leanBy), nil},
		{"trials", "nan", "as v2, with normalised contrast", good, blank},
		{"trials", "stale", "as v2, after the first of its epochs", learn(train, early), nil},
		{"trials", "slow", "as v2, comparing images", good, compareAll},
	} {
		archive, err := pack(graphOf(m.net, "digits-"+m.name, "Handwritten digits: "+m.doc+".", m.change))
		if err != nil {
			return out, err
		}
		out.files = append(out.files, file{m.dir + "/digits-" + m.name + ".tar.gz", archive})
		out.report = append(out.report, fmt.Sprintf(
			"%s tells %.1f %% of the %d held-out digits, and %.1f %% otherwise than v2", m.name,
			100*m.net.accuracy(test), len(test), 100*(1-m.net.agreement(good, test)),
		))
	}
	return out, nil
}

// model is one to make: its network, and how its graph differs from that.
type model struct {
	dir, name, doc string
	net            *network
	change         change
}

// calibrate makes v3's table of sharpness by ink. The mistake is deliberate:
// it covers the lighter two thirds of the images and nothing looks after the
// rest.
func calibrate(train []digit) []float32 {
	inks := make([]float64, len(train))
	for i := range train {
		inks[i] = train[i].ink()
	}
	slices.Sort(inks)
	table := make([]float32, int(inks[len(inks)*2/3]/inkStep))
	for i := range table {
		table[i] = 1
	}
	return table
}

// pack puts a model into a model.tar.gz that has no trace of when and where it
// was made.
func pack(model []byte) ([]byte, error) {
	var b bytes.Buffer
	zw, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	tw := tar.NewWriter(zw)
	if err := tw.WriteHeader(&tar.Header{
		Name: "model.onnx", Mode: 0o644, Size: int64(len(model)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
	}); err != nil {
		return nil, err
	}
	if _, err := tw.Write(model); err != nil {
		return nil, err
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	err = zw.Close()
	return b.Bytes(), err
}
