package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// measured is all that the page has numbers of.
type measured struct {
	Bakes  map[string]summary `json:"bakes"` // by scenario
	Extras extras             `json:"extras"`
}

// Where the numbers are, and the page that says them.
const (
	numbers = "internal/gates/testdata/measured.json"
	page    = "docs/gates.md"
)

// The page has what is written here between these.
const (
	begin = "<!-- measured: make gates writes this -->\n"
	end   = "<!-- /measured -->"
)

// write puts what is kept in a folder into the repository.
func write(keep, root string) error {
	m := measured{Bakes: map[string]summary{}}
	text, err := os.ReadFile(filepath.Join(keep, "extra.json"))
	if err == nil {
		err = json.Unmarshal(text, &m.Extras)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // without it the page says that it is missing
		return err
	}
	for _, s := range everything() {
		files, err := filepath.Glob(filepath.Join(keep, s.name+"-[0-9].json"))
		if err != nil {
			return err
		}
		var all []*results
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			r := new(results)
			if err := json.Unmarshal(text, r); err != nil {
				return err
			}
			if r.Name == s.name {
				all = append(all, r)
			}
		}
		if len(all) > 0 {
			m.Bakes[s.name] = summarize(all...)
		}
	}
	if text, err = json.MarshalIndent(m, "", "\t"); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, numbers), append(text, '\n'), 0o600); err != nil {
		return err
	}
	was, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		return err
	}
	is, err := m.page(string(was))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, page), []byte(is), 0o600)
}

// page returns a page with the tables in their place.
func (m *measured) page(was string) (string, error) {
	before, rest, ok := strings.Cut(was, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return "", fmt.Errorf("%s has no place for what is measured", page)
	}
	return before + begin + m.String() + end + after, nil
}

// String is the tables.
func (m *measured) String() string {
	var b strings.Builder
	m.falseAlarms(&b)
	m.failures(&b)
	m.found(&b)
	if m.Extras.Runs > 0 {
		m.proofs(&b)
		m.longer(&b)
	}
	if missing := m.missing(); missing != "" {
		b.WriteString("\n**The measurement is not finished.** " + missing + "\n\n")
	}
	return b.String()
}

// wanted is how many harmless bakes the page is to be of.
const wanted = 100_000

// missing says what the page has no numbers of; nothing if it has all.
func (m *measured) missing() string {
	var lacks []string
	if n := m.harmless(); n < wanted {
		lacks = append(lacks, fmt.Sprintf("It is to be of %s harmless bakes, and is of %s.", count(wanted), count(n)))
	}
	for _, s := range everything() {
		if m.Bakes[s.name].Runs == 0 {
			lacks = append(lacks, fmt.Sprintf("Not measured: %s.", s.name))
		}
	}
	if m.Extras.Runs == 0 {
		lacks = append(lacks, "Not measured: proofs, long bakes, losses.")
	}
	return strings.Join(lacks, "\n")
}

// harmless is how many bakes were measured that nothing is wrong with, those that
// are drawn as counts included.
func (m *measured) harmless() (n int) {
	for _, s := range append(harmless(), counted()...) {
		if !s.uncapped && !s.edge {
			n += m.Bakes[s.name].Runs
		}
	}
	return n
}

// falseAlarms is about deployments that nothing is wrong with.
func (m *measured) falseAlarms(b *strings.Builder) {
	b.WriteString("\n### Nothing is wrong with the new fleet\n\nBakes in which a gate stopped it all the same:\n\n")
	head(b, "", "bakes", "any at 2", "at 3", "errors", "latency", "labels", "numbers", "pairs")
	bakes, any2, third := 0, 0, 0
	for _, s := range harmless() {
		r, ok := m.Bakes[s.name]
		if !ok {
			continue
		}
		cells := []string{s.about, count(r.Runs)}
		for _, j := range []int{anyGate, any3, errorGate, latencyGate, labelGate, numberGate, pairGate} {
			cells = append(cells, percent(r.Judges[j].Against, r.Runs))
		}
		row(b, cells...)
		if !s.uncapped {
			bakes, any2, third = bakes+r.Runs, any2+r.Judges[anyGate].Against, third+r.Judges[any3].Against
		}
	}
	fmt.Fprintf(b, "\nWithout the last three, which are exactly as bad as is allowed, these are %s bakes.\n"+
		"An alarm on any gate at 2 stopped %s of them; at most 1 %% is promised, and the exact range of 95 %%\n"+
		"(Clopper and Pearson) is %s. At 3 it stopped %s; 0.1 %% is promised, and the range is\n%s.\n",
		count(bakes), count(any2), between(any2, bakes), count(third), between(third, bakes))
	b.WriteString("\nWhat other judges make of the same traffic:\n\n")
	head(b, "", "Kayenta, end", "each 5 min", "1 %", "5 %", "p99", "5 bad minutes")
	for _, s := range harmless() {
		if r, ok := m.Bakes[s.name]; ok && !s.alone {
			cells := []string{s.about}
			for j := judges; j < judges+peers; j++ {
				cells = append(cells, percent(r.Judges[j].Against, r.Runs))
			}
			row(b, cells...)
		}
	}
}

// tells is the gate that is to find what is wrong.
func tells(s *scenario) int {
	switch {
	case s.hangs > 0:
		return abandonedGate
	case s.slower > 0 || s.tail > 0 || s.badInstance:
		return latencyGate
	case s.flip > 0:
		return pairGate
	case s.bias > 0:
		return numberGate
	}
	return errorGate
}

// found is about deployments that are bad.
func (m *measured) found(b *strings.Builder) {
	b.WriteString("\n### Something is wrong with it\n\n" +
		"The gate that tells, and one alarm on any of them: in how many bakes, and " +
		"after how many\nof the new fleet's requests and seconds in the median (nine in ten):\n\n")
	head(b, "", "bakes", "gate", "found", "requests", "seconds", "any at 2", "requests", "any at 3", "requests")
	for _, s := range harmful() {
		r, ok := m.Bakes[s.name]
		if !ok {
			continue
		}
		j := tells(&s)
		v, at2, at3 := r.Judges[j], r.Judges[anyGate], r.Judges[any3]
		seconds := "–"
		if v.Against > 0 {
			seconds = fmt.Sprintf("%s (%s)", count(v.Seconds), count(v.Late))
		}
		row(b, s.about, count(r.Runs), judged[j], percent(v.Against, r.Runs), after(v), seconds,
			percent(at2.Against, r.Runs), after(at2), percent(at3.Against, r.Runs), after(at3))
		if w := r.Judges[margin5]; j == latencyGate && !s.badInstance && s.share == 0 {
			row(b, "— with a margin of 1.05", "", "latency", percent(w.Against, r.Runs), after(w),
				fmt.Sprintf("%s (%s)", count(w.Seconds), count(w.Late)), "", "", "", "")
		}
	}
	b.WriteString("\nThe others, on the same traffic:\n\n")
	head(b, "", "Kayenta, end", "each 5 min", "requests", "1 %", "requests", "5 %", "p99", "5 bad")
	for _, s := range harmful() {
		r, ok := m.Bakes[s.name]
		if !ok {
			continue
		}
		cells := []string{s.about}
		for j := judges; j < judges+peers; j++ {
			cells = append(cells, percent(r.Judges[j].Against, r.Runs))
			if j == kayentaOften || j == onePercent {
				cells = append(cells, after(r.Judges[j]))
			}
		}
		row(b, cells...)
	}
}

// proofs is about holding a bake until it is proven.
func (m *measured) proofs(b *strings.Builder) {
	fmt.Fprintf(b, "\n### Proof\n\n"+
		"Share of the new fleet; what fails on the old and the new one; margin. Proven in how many\n"+
		"of %s, after how many of the new fleet's requests (or pairs) in the median (nine in ten):\n\n",
		count(m.Extras.Runs))
	head(b, "", "wrong at most 5 %", "requests", "wrong at most 1 %", "requests")
	for _, c := range proofs() {
		p := m.Extras.Proofs[c.name]
		cells := []string{c.about}
		if c.wrong {
			cells[0] += " (it is not within)"
		}
		for k := range p.Count {
			requests := "–"
			if p.Count[k] > 0 {
				requests = fmt.Sprintf("%s (%s)", count(p.Median[k]), count(p.Late[k]))
			}
			cells = append(cells, percent(p.Count[k], m.Extras.Runs), requests)
		}
		row(b, cells...)
	}
}

// longer is about long bakes, and instances that are lost.
func (m *measured) longer(b *strings.Builder) {
	fmt.Fprintf(b, "\n### Long bakes, and losses\n\n"+
		"Errors 0.1 → 1 %% after some hours in which all was well (%s bakes, 5 %%, 50 requests a second):\n\n",
		count(m.Extras.Runs))
	head(b, "hours", "requests until it is found", "lowest value before")
	for _, p := range m.Extras.Patient {
		row(b, count(p.Hours), count(p.Requests), strconv.FormatFloat(p.Lowest, 'f', 1, 64))
	}
	b.WriteString("\nOne new instance beside four old ones, which are lost once an hour each:\n\n")
	head(b, "the new one is lost", "found", "after seconds")
	for _, l := range m.Extras.Losses {
		often, seconds := "as often", "–"
		if l.Every > 0 {
			often = fmt.Sprintf("every %d s", l.Every)
		}
		if l.Found > 0 {
			seconds = count(l.Seconds)
		}
		row(b, often, percent(l.Found, m.Extras.Runs), seconds)
	}
	b.WriteByte('\n')
}

func head(b *strings.Builder, cells ...string) {
	row(b, cells...)
	b.WriteString(strings.Repeat("|---", len(cells)) + "|\n")
}

func row(b *strings.Builder, cells ...string) {
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

// percent is a share of bakes, to three digits of what is small.
func percent(n, of int) string {
	p := 100 * float64(n) / float64(of)
	switch {
	case n == 0:
		return "0"
	case n == of:
		return "100 %"
	case p < 10:
		return strconv.FormatFloat(p, 'f', 2, 64) + " %"
	}
	return strconv.FormatFloat(p, 'f', 1, 64) + " %"
}

func after(v verdict) string {
	if v.Against == 0 {
		return "–"
	}
	return count(v.Requests)
}

// count writes a number with a comma before each three digits.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// between says in which range the chance of an event lies that came n times of
// so many, with 95 %.
func between(n, of int) string {
	least, most := clopperPearson(n, of)
	return fmt.Sprintf("%.4f to %.4f %%", 100*least, 100*most)
}

// clopperPearson is the exact range of a binomial chance.
func clopperPearson(n, of int) (least, most float64) {
	// atMost is the chance of n events or fewer.
	atMost := func(n int, p float64) (sum float64) {
		all, _ := math.Lgamma(float64(of + 1))
		for i := range n + 1 {
			a, _ := math.Lgamma(float64(i + 1))
			b, _ := math.Lgamma(float64(of - i + 1))
			sum += math.Exp(all - a - b + float64(i)*math.Log(p) + float64(of-i)*math.Log1p(-p))
		}
		return sum
	}
	bisect := func(above func(p float64) bool) float64 {
		low, high := 0.0, 1.0
		for range 60 {
			if mid := (low + high) / 2; above(mid) {
				high = mid
			} else {
				low = mid
			}
		}
		return high
	}
	if n > 0 {
		least = bisect(func(p float64) bool { return 1-atMost(n-1, p) > 0.025 })
	}
	most = 1
	if n < of {
		most = bisect(func(p float64) bool { return atMost(n, p) < 0.025 })
	}
	return least, most
}
