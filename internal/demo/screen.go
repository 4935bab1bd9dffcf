package demo

import (
	"fmt"
	"image/color"
	"io"
	"os"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"golang.org/x/sys/unix"
)

// screen writes for a person: on a terminal in colour with a live view of the
// traffic, elsewhere in plain lines. Only one goroutine may use it.
type screen struct {
	w     io.Writer
	fancy bool
	drawn int // lines of the live view on the terminal
}

func newScreen(w io.Writer, plain bool) *screen {
	return &screen{w: w, fancy: !plain && isTerminal(w)}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Colours of the 16 that every terminal has, so that they suit its theme.
func green() color.Color  { return lipgloss.Color("2") }
func red() color.Color    { return lipgloss.Color("1") }
func blue() color.Color   { return lipgloss.Color("4") }
func yellow() color.Color { return lipgloss.Color("3") }
func grey() color.Color   { return lipgloss.Color("8") }

// paint colours s on a terminal.
func (s *screen) paint(c color.Color, text string) string {
	if !s.fancy {
		return text
	}
	return lipgloss.NewStyle().Foreground(c).Render(text)
}

func (s *screen) bold(text string) string {
	if !s.fancy {
		return text
	}
	return lipgloss.NewStyle().Bold(true).Render(text)
}

// line prints a line that stays, above the live view.
func (s *screen) line(text string) {
	s.erase()
	s.print(text + "\n")
}

// print writes what a terminal of this kind can show. A person who closed the
// terminal ends the demo by a signal, so errors are of no use here.
func (s *screen) print(text string) {
	if s.fancy {
		_, _ = lipgloss.Fprint(s.w, text) // see above
		return
	}
	_, _ = io.WriteString(s.w, text) // see above
}

func (s *screen) title(text string) { s.line("\n" + s.bold(text) + "\n") }

func (s *screen) note(text string) { s.line("  " + s.paint(grey(), text)) }

// done says that a step is complete, and how long it took.
func (s *screen) done(step, detail string, took time.Duration) {
	s.line(fmt.Sprintf("  %s %s %s %s", s.tick(true), s.bold(fmt.Sprintf("%-8s", step)), detail,
		s.paint(grey(), fmt.Sprintf("(%.1f s)", took.Seconds()))))
}

func (s *screen) check(held bool, text string) {
	s.line("  " + s.tick(held) + " " + text)
}

func (s *screen) tick(ok bool) string {
	switch {
	case ok && s.fancy:
		return s.paint(green(), "✓")
	case ok:
		return "ok    "
	case s.fancy:
		return s.paint(red(), "✗")
	}
	return "FAILED"
}

// picture draws an image of 8 by 8 pixels of 0 to 16, two pixels a character,
// with a caption beside it.
func (s *screen) picture(pixels []float32, caption string) {
	const side, shades = 8, " ░▒▓█"
	if len(pixels) != side*side {
		s.note(caption)
		return
	}
	ramp := []rune(shades)
	s.line("")
	for y := range side {
		var row strings.Builder
		for x := range side {
			shade := ramp[min(int(pixels[y*side+x])*len(ramp)/17, len(ramp)-1)]
			row.WriteRune(shade)
			row.WriteRune(shade)
		}
		text := "      " + s.paint(yellow(), row.String())
		if y == side/2 {
			text += "   " + caption
		}
		s.line(text)
	}
	s.line("")
}

func (s *screen) table(rows [][]string) {
	s.line("")
	for i, row := range rows {
		text := fmt.Sprintf("  %-18s", row[0])
		for _, cell := range row[1:] {
			text += fmt.Sprintf("%13s", cell)
		}
		if i == 0 {
			text = s.paint(grey(), text)
		}
		s.line(text)
	}
	s.line("")
}

// interval is how often live is worth calling.
func (s *screen) interval() time.Duration {
	if s.fancy {
		return 100 * time.Millisecond
	}
	return time.Second
}

// live shows the traffic at this moment: redrawn in place on a terminal, a line
// elsewhere.
func (s *screen) live(g glance) {
	if !s.fancy {
		s.line(fmt.Sprintf("  traffic: %d sent, %d answered, %d failed; v1 %d, v2 %d; p50 %s, p99 %s",
			g.sent, g.ok, g.failed, g.v1, g.v2, milliseconds(g.p50), milliseconds(g.p99)))
		return
	}
	failed := s.paint(green(), "0 failed")
	if g.failed > 0 {
		failed = s.paint(red(), fmt.Sprintf("%d failed", g.failed))
	}
	lines := []string{
		"",
		fmt.Sprintf("    requests     %s sent   %s   %d under way", s.bold(fmt.Sprint(g.sent)), failed, g.sent-g.ok-g.failed),
		"    answered by  " + s.share(g),
		fmt.Sprintf("    p99 latency  %s  %s", s.paint(blue(), spark(g.trend)), milliseconds(g.p99)),
		"",
	}
	s.erase()
	s.print(strings.Join(lines, "\n") + "\n")
	s.drawn = len(lines)
}

// share draws how the last answers divide between the versions.
func (s *screen) share(g glance) string {
	const width = 40
	total := g.v1 + g.v2
	if total == 0 {
		return s.paint(grey(), strings.Repeat("░", width))
	}
	right := (g.v2*width + total/2) / total
	return "v1 " + s.paint(yellow(), strings.Repeat("█", width-right)) + s.paint(green(), strings.Repeat("█", right)) + " v2"
}

// spark draws durations as bars, the longest one full height.
func spark(trend []time.Duration) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	longest := time.Duration(1)
	for _, d := range trend {
		longest = max(longest, d)
	}
	var b strings.Builder
	for _, d := range trend {
		b.WriteRune(bars[int(d*time.Duration(len(bars)-1)/longest)])
	}
	return b.String()
}

// erase takes the live view off the terminal.
func (s *screen) erase() {
	if s.drawn == 0 {
		return
	}
	// Up so many lines, and clear from there.
	_, _ = fmt.Fprintf(s.w, "\x1b[%dA\x1b[0J", s.drawn) // see print
	s.drawn = 0
}

func (s *screen) close() { s.line("") }
