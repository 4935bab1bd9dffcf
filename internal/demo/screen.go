package demo

import (
	"fmt"
	"image/color"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

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

// width is how many characters the terminal has in a line at this moment.
func (s *screen) width() int {
	const usual = 80
	f, ok := s.w.(*os.File)
	if !ok {
		return usual
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return usual
	}
	return int(size.Col)
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

// head begins an act.
func (s *screen) head(text string) { s.line("\n  " + s.bold(text)) }

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

// table prints rows of equal length under a heading: the first column to the
// left, the others to the right.
func (s *screen) table(rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	s.line("")
	for i, row := range rows {
		text := fmt.Sprintf("  %-*s", widths[0], row[0])
		for j, cell := range row[1:] {
			text += fmt.Sprintf("   %*s", widths[j+1], cell)
		}
		if i == 0 {
			text = s.paint(grey(), text)
		}
		s.line(text)
	}
	s.line("")
}

// interval is how often live is worth calling, at a time when much happens at
// once or not.
func (s *screen) interval(fast bool) time.Duration {
	switch {
	case s.fancy:
		return 100 * time.Millisecond
	case fast:
		return 250 * time.Millisecond
	}
	return time.Second
}

// window is how many intervals the shares are told over: about a second.
func (s *screen) window() int {
	if s.fancy {
		return 10
	}
	return 1
}

// stage says what an update does now, and returns what it said.
func (s *screen) stage(at time.Duration, st stage) string {
	version, _, _ := strings.Cut(strings.TrimPrefix(st.fleet, endpoint+"-"), "-")
	s.event(at, version, s.bold(fmt.Sprintf("%-17s", st.status))+" "+st.message)
	return version + ": " + st.message
}

// event says what happened at a time since the traffic began.
func (s *screen) event(at time.Duration, version, text string) {
	s.line(fmt.Sprintf("  %6.1f s  %s %s", at.Seconds(), s.colourOf(version, version), text))
}

// colourOf paints a text in the colour of a version.
func (s *screen) colourOf(version, text string) string {
	switch version {
	case "v1":
		return s.paint(yellow(), text)
	case "v2":
		return s.paint(green(), text)
	}
	return s.paint(red(), text)
}

// live shows the traffic at this moment: redrawn in place on a terminal, a line
// elsewhere.
func (s *screen) live(g glance) {
	if !s.fancy {
		s.line(fmt.Sprintf("  %6.1f s  v1 %3d/s  v2 %3d/s  v3 %3d/s  v4 %3d/s   500s of v3 %d, lost %d   p50 %s, p99 %s",
			g.at.Seconds(), g.by[0], g.by[1], g.by[2], g.by[3], g.sum.broken, g.sum.lost, milliseconds(g.p50),
			milliseconds(g.p99)))
		return
	}
	lost := s.paint(green(), "0 lost")
	if g.sum.lost > 0 {
		lost = s.paint(red(), fmt.Sprintf("%d lost", g.sum.lost))
	}
	lines := []string{
		"",
		fmt.Sprintf(
			"    requests     %s sent   %s   %d that v3 failed on   %d under way", s.bold(fmt.Sprint(g.sum.sent)), lost,
			g.sum.broken, g.sum.sent-g.sum.ok-g.sum.broken-g.sum.lost,
		),
		"    answered by  " + s.share(g.by),
		fmt.Sprintf("    p99 latency  %s  %s", s.paint(blue(), spark(g.trend)), milliseconds(g.p99)),
		"    deployment   " + g.stage,
		"",
	}
	s.erase()
	// A line that wrapped would be two to erase.
	fit := lipgloss.NewStyle().MaxWidth(s.width())
	for _, line := range lines {
		s.print(fit.Render(line) + "\n")
	}
	s.drawn = len(lines)
}

// share draws how the requests of the last second divide between the versions.
func (s *screen) share(by shares) string {
	const width = 40
	total := by.total()
	if total == 0 {
		return s.paint(grey(), strings.Repeat("░", width))
	}
	bar, legend, sum, drawn := "", "", 0, 0
	for v, name := range versions() {
		sum += by[v]
		edge := (sum*width + total/2) / total
		bar += s.colourOf(name, strings.Repeat("█", edge-drawn))
		drawn = edge
		if by[v] > 0 {
			legend += "  " + s.colourOf(name, fmt.Sprintf("%s %d %%", name, (by[v]*100+total/2)/total))
		}
	}
	return bar + legend
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
