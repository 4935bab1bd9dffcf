package main

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
)

const (
	pixels  = 64 // of an image, 0 to 16 each
	classes = 10
	heldOut = 500 // images that no model is trained on
)

// digit is one image and what it shows.
type digit struct {
	image [pixels]float64
	label int
}

// readDigits reads the data set: 64 pixels and the label in each line.
func readDigits(r io.Reader) ([]digit, error) {
	zr, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	var all []digit
	for sc := bufio.NewScanner(zr); ; {
		if !sc.Scan() {
			return all, sc.Err()
		}
		fields := strings.Split(sc.Text(), ",")
		if len(fields) != pixels+1 {
			return nil, fmt.Errorf("line %d has %d fields", len(all)+1, len(fields))
		}
		var d digit
		for i, f := range fields {
			n, err := strconv.Atoi(f)
			if err != nil || n < 0 || n > 16 {
				return nil, fmt.Errorf("line %d, field %d is %q", len(all)+1, i+1, f)
			}
			if i < pixels {
				d.image[i] = float64(n)
			} else {
				d.label = n
			}
		}
		all = append(all, d)
	}
}

// split divides the data, in a fixed random order, into the images to train on
// and the held-out ones.
func split(all []digit) (train, test []digit) {
	rng := rand.New(rand.NewPCG(1998, 7))
	shuffled := append([]digit(nil), all...)
	rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	return shuffled[heldOut:], shuffled[:heldOut]
}

// csvOf writes digits as they were read.
func csvOf(digits []digit) []byte {
	var b []byte
	for _, d := range digits {
		for _, p := range d.image {
			b = append(strconv.AppendInt(b, int64(p), 10), ',')
		}
		b = append(strconv.AppendInt(b, int64(d.label), 10), '\n')
	}
	return b
}
