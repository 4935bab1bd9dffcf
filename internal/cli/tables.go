package cli

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
)

// page is what a command prints: lines and tables, one after the other.
type page struct {
	b     strings.Builder
	width int // of the terminal; 0 where there is none
}

func newPage(w io.Writer) *page {
	p := &page{}
	if f, ok := w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			p.width = int(size.Col)
		}
	}
	return p
}

func (p *page) line(format string, args ...any) { fmt.Fprintf(&p.b, format+"\n", args...) }

// table prints rows below a header; right names the columns of numbers.
func (p *page) table(header table.Row, rows []table.Row, right ...string) {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	t.Style().Box.PaddingLeft, t.Style().Box.PaddingRight = "", "  "
	t.Style().Format.Header = text.FormatDefault
	widths := p.widths(header, rows)
	var configs []table.ColumnConfig
	for i, name := range header {
		c := table.ColumnConfig{Number: i + 1, WidthMax: widths[i], WidthMaxEnforcer: text.WrapSoft}
		if slices.Contains(right, fmt.Sprint(name)) {
			c.Align, c.AlignHeader = text.AlignRight, text.AlignRight
		}
		configs = append(configs, c)
	}
	t.SetColumnConfigs(configs)
	t.AppendHeader(header)
	t.AppendRows(rows)
	for l := range strings.Lines(t.Render() + "\n") {
		p.b.WriteString(strings.TrimRight(l, " \n") + "\n")
	}
}

// Texts are wrapped where people stop reading, and no column is made narrower
// than this to fit a terminal.
const widest, narrowest = 70, 8

// widths is how wide each column may be, so that the table fits the terminal:
// the widest give way first.
func (p *page) widths(header table.Row, rows []table.Row) []int {
	widths, total := make([]int, len(header)), 0
	for i := range header {
		for _, row := range append([]table.Row{header}, rows...) {
			if i < len(row) {
				widths[i] = max(widths[i], text.StringWidth(fmt.Sprint(row[i])))
			}
		}
		if name := header[i]; name == "REASON" || name == "EFFECT" || name == "EVENT" {
			widths[i] = min(widths[i], widest)
		}
		total += widths[i] + len("  ")
	}
	for ; p.width > 0 && total-len("  ") > p.width; total-- {
		i := slices.Index(widths, slices.Max(widths))
		if widths[i] <= narrowest {
			break
		}
		widths[i]--
	}
	return widths
}

// facts prints names and values below each other; empty ones are left out.
func (p *page) facts(pairs ...[2]string) {
	for _, f := range pairs {
		if f[1] != "" {
			p.line("%-11s %s", f[0], f[1])
		}
	}
}

func (p *page) print(w io.Writer) error {
	_, err := io.WriteString(w, p.b.String())
	return err
}

func showDeployments(w io.Writer, all slipway.ListDeploymentsOutput) error {
	var rows []table.Row
	for _, d := range all.Deployments {
		requests := "-"
		if d.Requests != nil {
			requests = fmt.Sprint(*d.Requests)
		}
		strategy := ""
		if shape.Val(d.Kind) == "Update" {
			strategy = shape.Val(d.Strategy)
		}
		verdict := shape.Val(d.Verdict)
		if d.PausedSince != nil {
			verdict = "Paused"
		}
		rows = append(rows, table.Row{
			clock(d.StartTime), clean(shape.Val(d.DeploymentId)), clean(shape.Val(d.Kind)), dash(strategy),
			dash(shape.Val(d.PreviousEndpointConfigName)), dash(shape.Val(d.EndpointConfigName)),
			clean(verdict), took(d.StartTime, d.EndTime), requests, clean(shape.Val(d.FailureReason)),
		})
	}
	p := newPage(w)
	p.table(
		table.Row{"STARTED", "DEPLOYMENT", "KIND", "STRATEGY", "FROM", "TO", "VERDICT", "TOOK", "REQUESTS", "REASON"},
		rows, "TOOK", "REQUESTS",
	)
	p.events(all.Events)
	return p.print(w)
}

// events prints what happened beside the steps of deployments.
func (p *page) events(all []slipway.DeploymentEvent) {
	var rows []table.Row
	for _, e := range all {
		rows = append(rows, table.Row{clock(e.Time), clean(shape.Val(e.Message))})
	}
	if len(rows) > 0 {
		p.line("")
		p.table(table.Row{"TIME", "EVENT"}, rows)
	}
}

func showDeployment(w io.Writer, d slipway.DescribeDeploymentOutput) error {
	p := newPage(w)
	p.line("%s\n", clean(shape.Val(d.Summary)))
	exposure := ""
	if d.TrafficPercent != nil {
		exposure = fmt.Sprintf("up to %s of the traffic", percent(*d.TrafficPercent))
	}
	if d.Requests != nil {
		exposure += fmt.Sprintf(", %d request(s)", *d.Requests)
	}
	p.facts(append([][2]string{
		{"Deployment", clean(shape.Val(d.DeploymentId))},
		{"Endpoint", clean(shape.Val(d.EndpointArn))},
		{"From", clean(shape.Val(d.PreviousEndpointConfigName))},
		{"To", clean(shape.Val(d.EndpointConfigName))},
		{"Strategy", clean(shape.Val(d.Strategy))},
		{"Alarms", clean(strings.Join(alarms(d.Plan), ", "))},
		{"Planned", planned(d.Plan)},
		{"Started", started(d)},
		{"Ended", stamp(d.EndTime)},
		{"Paused", stamp(d.PausedSince)},
		{"Exposure", exposure},
		{"Trouble", clean(shape.Val(d.PreviousFleetTrouble))},
	}, modelData(d.ModelData)...)...)
	p.line("")
	steps, rows := 0, []table.Row{}
	for _, s := range plannedSteps(d.Plan) {
		steps = max(steps, int(shape.Val(s.StepNumber)))
	}
	for _, s := range d.Steps {
		requests := "-"
		if s.Requests != nil {
			requests = fmt.Sprint(*s.Requests)
		}
		rows = append(rows, append(table.Row{
			clockOnly(s.Time), duration(shape.Val(s.ElapsedSeconds)), clean(shape.Val(s.Phase)),
			step(shape.Val(s.StepNumber), steps),
		},
			append(fleets(s.Variants), wait(shape.Val(s.DurationSeconds)), requests)...))
	}
	p.table(
		table.Row{"TIME", "ELAPSED", "PHASE", "STEP", "TRAFFIC", "OLD", "NEW", "LASTED", "REQUESTS"}, rows, "ELAPSED",
		"TRAFFIC", "LASTED", "REQUESTS",
	)
	p.remarks(d)
	return p.print(w)
}

// modelData names the version of the data that each variant of the new fleet
// serves, and loudest where it is other data than before at the same place.
func modelData(all []slipway.DeployedModelDatum) (facts [][2]string) {
	for _, d := range all {
		text := clean(fmt.Sprintf("%s: %s", shape.Val(d.VariantName), shape.Val(d.S3Uri)))
		if d.Version != nil {
			text += ", version " + clean(*d.Version)
		}
		if d.PreviousVersion != nil {
			text += ", before " + clean(*d.PreviousVersion)
		}
		facts = append(facts, [2]string{"Model data", text})
	}
	return facts
}

// remarks prints what a reader of the steps should not overlook.
func (p *page) remarks(d slipway.DescribeDeploymentOutput) {
	for _, s := range d.Steps {
		if s.FailureReason != nil {
			p.line("\n%s %s", clockOnly(s.Time), clean(*s.FailureReason))
		}
		for _, a := range s.Alarms {
			p.line(
				"         alarm %s: %s (since %s)", clean(shape.Val(a.AlarmName)), clean(shape.Val(a.StateReason)),
				clockOnly(a.StateUpdatedTimestamp),
			)
			if a.TrafficTakenBackTime != nil {
				p.line("         traffic was taken back at %s, ahead of the records", clockOnly(a.TrafficTakenBackTime))
			}
		}
		if s.Note != nil {
			p.line("\n%s %s", clockOnly(s.Time), clean(*s.Note))
		}
	}
	p.events(d.Events)
	p.gates(d.Gates)
	if len(d.Orders) == 0 {
		return
	}
	var rows []table.Row
	for _, o := range d.Orders {
		rows = append(rows, table.Row{
			clockOnly(o.Time), clean(shape.Val(o.Order)), clean(shape.Val(o.By)), clean(shape.Val(o.Effect)),
		})
	}
	p.line("")
	p.table(table.Row{"TIME", "ORDER", "BY", "EFFECT"}, rows)
}

func showPlan(w io.Writer, out slipway.PlanUpdateEndpointOutput) error {
	p := newPage(w)
	p.line("Endpoint %s would go from %q to %q by %s.\n", clean(shape.Val(out.EndpointName)),
		clean(shape.Val(out.PreviousEndpointConfigName)),
		clean(shape.Val(out.EndpointConfigName)), clean(shape.Val(out.Plan.Strategy)))
	steps, rows := 0, []table.Row{}
	for _, s := range out.Plan.Steps {
		steps = max(steps, int(shape.Val(s.StepNumber)))
	}
	for _, s := range out.Plan.Steps {
		rows = append(rows, append(table.Row{
			duration(shape.Val(s.StartsAfterSeconds)), clean(shape.Val(s.Phase)), step(shape.Val(s.StepNumber), steps),
		},
			append(
				fleets(s.Variants), shape.Val(s.TotalInstanceCount), wait(shape.Val(s.WaitInSeconds)),
				wait(shape.Val(s.WorstCaseInSeconds)),
			)...))
	}
	p.table(
		table.Row{"AFTER", "PHASE", "STEP", "TRAFFIC", "OLD", "NEW", "INSTANCES", "WAIT", "AT MOST"}, rows, "AFTER",
		"TRAFFIC", "INSTANCES", "WAIT", "AT MOST",
	)
	p.line("")
	p.facts([][2]string{
		{"Waits", duration(shape.Val(out.Plan.TotalWaitInSeconds)) + " altogether"},
		{"At most", duration(shape.Val(out.Plan.WorstCaseInSeconds)) + " until it commits or is being rolled back; " +
			"MaximumExecutionTimeoutInSeconds is " + duration(shape.Val(out.Plan.MaximumExecutionTimeoutInSeconds))},
		{"Peak", fmt.Sprintf("%d instance(s)", shape.Val(out.Plan.PeakInstanceCount))},
		{"Alarms", dash(strings.Join(out.Plan.AlarmNames, ", "))},
	}...)
	for _, f := range out.Findings {
		p.line("\n%s: %s (%s)", clean(shape.Val(f.Severity)), clean(shape.Val(f.Message)), clean(shape.Val(f.Code)))
	}
	p.line("\nOLD and NEW are instances with traffic / wanted. AFTER counts the waits alone.")
	return p.print(w)
}

// fleets are the columns TRAFFIC, OLD and NEW: one entry a variant if they
// differ, as they do when their sizes do.
func fleets(vs []slipway.StepVariant) table.Row {
	var traffic, old, next []string
	for _, v := range vs {
		traffic = append(traffic, percent(shape.Val(v.TrafficPercent)))
		old = append(
			old, fmt.Sprintf("%d/%d", shape.Val(v.PreviousActiveInstanceCount), shape.Val(v.PreviousInstanceCount)),
		)
		next = append(next, fmt.Sprintf("%d/%d", shape.Val(v.ActiveInstanceCount), shape.Val(v.InstanceCount)))
	}
	one := func(all []string) string {
		for _, s := range all {
			if s != all[0] {
				return strings.Join(all, " ")
			}
		}
		if len(all) == 0 {
			return "-"
		}
		return all[0]
	}
	return table.Row{one(traffic), strings.Join(old, " "), strings.Join(next, " ")}
}

func alarms(p *slipway.DeploymentPlan) []string {
	if p == nil {
		return nil
	}
	return p.AlarmNames
}

func plannedSteps(p *slipway.DeploymentPlan) []slipway.PlannedStep {
	if p == nil {
		return nil
	}
	return p.Steps
}

func planned(p *slipway.DeploymentPlan) string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("%s of waiting, at most %s, %d instance(s) at the peak",
		duration(shape.Val(p.TotalWaitInSeconds)),
		duration(shape.Val(p.MaximumExecutionTimeoutInSeconds)), shape.Val(p.PeakInstanceCount))
}

func started(d slipway.DescribeDeploymentOutput) string {
	if d.StartedBy == nil {
		return stamp(d.StartTime)
	}
	return stamp(d.StartTime) + " by " + clean(*d.StartedBy)
}

func step(n int32, of int) string { return fmt.Sprintf("%d/%d", n, max(of, int(n))) }

func percent(p float64) string { return fmt.Sprintf("%d%%", int(math.Round(p))) }

// stamp is a moment in full; times are in UTC, as in the API.
func stamp(t *shape.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func clock(t *shape.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.DateTime)
}

func clockOnly(t *shape.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.TimeOnly)
}

func took(from, to *shape.Time) string {
	if from == nil || to == nil {
		return "-"
	}
	return duration(to.Sub(from.Time).Seconds())
}

// wait is a duration, or nothing to wait for.
func wait(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	return duration(seconds)
}

// duration is a number of seconds, to what people read of it.
func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return clean(s)
}

// clean keeps what a terminal would take for a command out of a text that
// others wrote.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}
