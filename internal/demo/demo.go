// Package demo is `slipway demo`: it does Slipway's main job on real input, with
// unmodified AWS clients against a server of its own, and tells a person what
// happens. It believes nothing it has not checked. Measuring how fast Slipway
// can be is not its job.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-ml/slipway/models"
)

// Options are what a person may ask of a demo.
type Options struct {
	Out   io.Writer
	Plain bool // plain lines, even on a terminal
	Keep  bool // keep the temporary directory
	// Program is the slipway program to serve with; "" is the running one.
	Program string
}

const (
	endpoint  = "digits"
	bucket    = "models"
	instances = 2
	rate      = 150 // requests per second
	// How long the load lasts before the update begins and after it is done.
	before, after = 6 * time.Second, 6 * time.Second
	// limit bounds the whole demo, should something hang.
	limit = 3 * time.Minute
)

// Run shows the demo and returns an error unless every check held.
func Run(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dir, err := os.MkdirTemp("", "slipway-demo-")
	if err != nil {
		return err
	}
	s := newScreen(o.Out, o.Plain)
	defer s.close()
	s.title("Slipway demo: a real model goes live, and is replaced under load")

	began := time.Now()
	failed, err := perform(ctx, s, o, dir)
	switch {
	case o.Keep:
		s.note("everything is kept in " + dir)
	case err != nil:
		s.note("the server's log is " + filepath.Join(dir, "server.log"))
	default:
		err = os.RemoveAll(dir)
	}
	if err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d checks failed", failed)
	}
	s.note(fmt.Sprintf("all checks held, in %.0f s", time.Since(began).Seconds()))
	return nil
}

// perform returns how many checks failed. Its error means that the demo could
// not go on.
func perform(ctx context.Context, s *screen, o Options, dir string) (failed int, err error) {
	began := time.Now()
	srv, err := startServer(ctx, o.Program, dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, srv.stop()) }()
	s.done("server", "ready at "+srv.url, time.Since(began))

	c, err := newClients(ctx, srv)
	if err != nil {
		return 0, err
	}
	d := &show{screen: s, clients: c, server: srv}
	for _, step := range []func(context.Context) error{d.upload, d.create, d.replaceUnderLoad, d.checkTraffic, d.remove} {
		if err := step(ctx); err != nil {
			return d.failed, err
		}
	}
	return d.failed, nil
}

// show is a demo under way.
type show struct {
	*screen
	*clients
	server  *server
	traffic *traffic
	failed  int
}

// check prints what was expected of the facts, and counts what did not hold.
func (d *show) check(held bool, format string, args ...any) {
	if !held {
		d.failed++
	}
	d.screen.check(held, fmt.Sprintf(format, args...))
}

func (d *show) upload(ctx context.Context) error {
	began := time.Now()
	if err := d.makeBucket(ctx, bucket); err != nil {
		return err
	}
	size := 0
	for _, v := range []string{"v1", "v2"} {
		archive := models.Archive(v)
		size += len(archive)
		if err := d.put(ctx, bucket, v+"/model.tar.gz", archive); err != nil {
			return err
		}
	}
	d.done("upload", fmt.Sprintf("two ONNX models that read handwritten digits (%.0f KiB) to s3://%s", float64(size)/1024, bucket), time.Since(began))
	return nil
}

func (d *show) create(ctx context.Context) error {
	began := time.Now()
	for _, v := range []string{"v1", "v2"} {
		if err := d.createModel(ctx, v); err != nil {
			return err
		}
	}
	if err := d.createEndpoint(ctx, "v1"); err != nil {
		return err
	}
	if err := d.waitInService(ctx, "v1"); err != nil {
		return err
	}
	d.done("deploy", fmt.Sprintf("v1 in service on %d instances", instances), time.Since(began))

	images, labels := models.TestSet()
	got, by, err := d.classify(ctx, images[0])
	if err != nil {
		return err
	}
	d.picture(images[0], fmt.Sprintf("sent to the endpoint: %s reads it as %d; it is %d", by, got, labels[0]))
	return nil
}

// replaceUnderLoad is the heart of it: steady traffic, and an update meanwhile.
func (d *show) replaceUnderLoad(ctx context.Context) error {
	images, labels := models.TestSet()
	d.note(fmt.Sprintf("now %d requests a second, whatever the answers do: the test set of %d images, again and again", rate, len(images)))
	d.traffic = newTraffic(d.clients, images, labels)
	d.traffic.start(ctx)
	stopped := false
	defer func() {
		if !stopped { // an error: its cause is told, not the traffic's
			_ = d.traffic.finish()
		}
	}()

	if err := d.watch(ctx, before); err != nil {
		return err
	}
	began := time.Now()
	d.traffic.mark(updateBegan)
	if err := d.updateEndpoint(ctx, "v2"); err != nil {
		return err
	}
	updated := make(chan error, 1)
	go func() { updated <- d.waitInService(ctx, "v2") }()
	if err := d.watchUntil(ctx, updated); err != nil {
		return err
	}
	d.traffic.mark(updateEnded)
	d.done("update", "v2 in service, v1 stopped, under load", time.Since(began))
	if err := d.watch(ctx, after); err != nil {
		return err
	}
	stopped = true
	return d.traffic.finish()
}

// watch shows the traffic for a while.
func (d *show) watch(ctx context.Context, long time.Duration) error {
	over := make(chan error, 1)
	timer := time.AfterFunc(long, func() { over <- nil })
	defer timer.Stop()
	return d.watchUntil(ctx, over)
}

// watchUntil shows the traffic until over says how it went.
func (d *show) watchUntil(ctx context.Context, over <-chan error) error {
	tick := time.NewTicker(d.interval())
	defer tick.Stop()
	for {
		select {
		case err := <-over:
			return err
		case <-tick.C:
			d.live(d.traffic.glance())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *show) checkTraffic(context.Context) error {
	t := d.traffic
	d.table(t.rows())
	sum := t.sum()
	d.check(sum.failed == 0 && sum.ok == sum.sent, "no request failed: %d sent, %d answered", sum.sent, sum.ok)
	if t.report.FirstErr != nil {
		d.note("the first failure: " + t.report.FirstErr.Error())
	}
	d.check(t.only(beforeUpdate, "v1"), "before the update every answer came from v1")
	d.check(t.only(afterUpdate, "v2"), "after the update every answer came from v2")
	d.check(t.both(), "during the update the traffic moved from v1 to v2")
	v1, v2 := t.accuracy("v1"), t.accuracy("v2")
	d.check(v2 > v1 && v1 > 0.5, "v2 is better: %.1f %% of digits right, up from %.1f %%", 100*v2, 100*v1)
	if image, one, two, ok := t.improved(); ok {
		d.picture(image, fmt.Sprintf("one that v2 gets right: v1 read it as %d, v2 reads %d", one, two))
	}
	return nil
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
