package demo

import (
	"context"
	"fmt"
	"time"
)

// account checks what became of every request, once the traffic has ended.
func (d *show) account(ctx context.Context) error {
	t := d.traffic
	d.table(t.rows())
	sum := t.sum()
	d.check(
		sum.lost == 0 && sum.ok+sum.broken == sum.sent,
		"no request was lost: %d sent, %d answered, %d that v3 itself failed on, %d lost", sum.sent, sum.ok, sum.broken,
		sum.lost,
	)
	if t.firstLost != nil {
		d.note("the first that was lost: " + t.firstLost.Error())
	}
	d.check(t.only(servingV1, "v1"), "before the first update every answer came from v1")
	d.check(
		t.only(updatingV2, "v1", "v2") && t.only(servingV2, "v2"), "the traffic moved from v1 to v2, and stayed there",
	)
	one, two := t.accuracy("v1"), t.accuracy("v2")
	d.check(two > one && one > 0.5, "v2 is better: %.1f %% of digits right, up from %.1f %%", 100*two, 100*one)
	if image, was, is, ok := t.improved(); ok {
		d.picture(image, fmt.Sprintf("one that v2 gets right: v1 read it as %d, v2 reads %d", was, is))
	}
	return d.cost(ctx)
}

// cost checks what the broken version cost.
func (d *show) cost(ctx context.Context) error {
	t, e := d.traffic, d.traffic.broken
	d.check(
		t.only(updatingV3, "v2", broken) && t.only(afterRollback, "v2"),
		"v3 took a part of the traffic, and v2 all of it after the rollback",
	)
	d.check(t.only(copyingV4, "v2") && t.only(afterCopies, "v2"), "while v4 got copies, nobody got an answer of it")
	d.check(
		t.only(driftingV4, "v2", wrong) && t.only(afterDrift, "v2"),
		"without copies it took a part of the traffic, %d requests, and v2 all of it after the rollback",
		t.phases[driftingV4].by[wrong],
	)
	d.check(
		t.sum().broken > 0, "v3 is broken: it failed on %d of the %d requests that it got", t.sum().broken, e.requests,
	)
	if t.sum().broken == 0 {
		return nil
	}
	after := max(0, e.lastSent.Sub(e.firstBad))
	d.check(
		after <= promised, "from its first bad answer to the last request sent to it: %.2f s (promised: %.0f s)",
		after.Seconds(), promised.Seconds(),
	)
	d.picture(t.images[e.image], "one that v3 failed on: "+short(e.words, 90))

	return d.compare(ctx)
}

// compare holds the server's own metrics against what the demo has seen; they
// may come a little later.
func (d *show) compare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	got, failed := d.traffic.broken.requests, d.traffic.sum().broken
	for tries := 25; ; tries-- {
		invocations, err := d.counted(ctx, "Invocations", broken, d.traffic.began)
		if err != nil {
			return err
		}
		bad, err := d.counted(ctx, "Invocation5XXErrors", broken, d.traffic.began)
		if err != nil {
			return err
		}
		if agreed := invocations == got && bad == failed; agreed || tries == 0 {
			d.check(
				agreed, "the endpoint's own metrics agree: v3 was invoked %d times and failed %d times", invocations,
				bad,
			)
			return nil
		}
		<-tick.C
	}
}

// short cuts a text to so many characters.
func short(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

func (d *show) remove(ctx context.Context) error {
	began := time.Now()
	if err := d.deleteEndpoint(ctx); err != nil {
		return err
	}
	d.done("remove", "endpoint deleted", time.Since(began))
	left := len(d.server.leftovers())
	d.check(left == 0, "no model process is left: %d", left)
	return nil
}
