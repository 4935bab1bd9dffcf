package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/slipway-ml/slipway/internal/platform/pgtest"
)

// troubles are what may become of the database as a bad model gets its share of
// the requests. end undoes it; nil: it cannot be undone.
var troubles = []struct {
	name  string
	begin func(db *pgtest.Server, way *pgtest.Slow) (end func())
}{
	{"well", func(*pgtest.Server, *pgtest.Slow) func() { return func() {} }},
	{"frozen", func(db *pgtest.Server, _ *pgtest.Slow) func() { db.Freeze(); return db.Thaw }},
	{"locked", func(db *pgtest.Server, _ *pgtest.Slow) func() { db.Lock(); return db.Unlock }},
	{"slow by 3 s", func(_ *pgtest.Server, way *pgtest.Slow) func() {
		way.By(3 * time.Second)
		return func() { way.By(0) }
	}},
	{"gone", func(db *pgtest.Server, _ *pgtest.Slow) func() { db.Kill(); return nil }},
}

// owner ends what a PostgreSQL needs when a benchmark is over. What would fail or
// skip a test is thrown, to be caught by try.
type owner struct{ cleanups []func() }

type skipped struct{ why string }

func (*owner) Helper()            {}
func (o *owner) Cleanup(f func()) { o.cleanups = append(o.cleanups, f) }
func (*owner) Skip(args ...any)   { panic(skipped{fmt.Sprint(args...)}) }
func (*owner) Fatal(args ...any)  { panic(errors.New(fmt.Sprint(args...))) }

// try calls f and ends what it began.
func (o *owner) try(f func() error) (err error) {
	defer func() {
		switch thrown := recover().(type) {
		case nil:
		case skipped:
			fmt.Println("SKIPPED:", thrown.why)
		case error:
			err = thrown
		default:
			panic(thrown)
		}
		for _, f := range slices.Backward(o.cleanups) {
			f()
		}
	}()
	return f()
}

// benchTroubled measures how long a bad model gets requests after the answer that
// decides against it, while the database is in trouble: the traffic is taken back
// without it.
func benchTroubled(ctx context.Context, o options, dir string, bins map[string]string) error {
	defer endInstances(bins["testmodel"])
	for _, tr := range troubles {
		var took []time.Duration
		var exposed []int
		for i := range o.rounds {
			at := filepath.Join(dir, fmt.Sprintf("%s-%d", tr.name, i))
			var own owner
			if err := own.try(func() error {
				db := pgtest.Start(&own)
				d, n, err := troubled(ctx, at, bins, db, tr.begin)
				took, exposed = append(took, d), append(exposed, n)
				return err
			}); err != nil {
				return fmt.Errorf("database %s: %w", tr.name, err)
			}
		}
		if len(took) == 0 {
			return nil // there is no PostgreSQL
		}
		slices.Sort(took)
		slices.Sort(exposed)
		fmt.Printf("database %-11s: deciding answer to last request of the bad fleet, %d req/s, %d rollbacks: median %s, "+
			"max %s (aim 100ms); bad answers: median %d, max %d\n", tr.name, rollbackRate, len(took),
			took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond),
			exposed[len(exposed)/2], exposed[len(exposed)-1])
	}
	return nil
}

// endInstances ends the instances of servers that could not do so: they outlive
// them.
func endInstances(program string) {
	all, _ := filepath.Glob("/proc/[0-9]*/exe") // the pattern is a good one
	for _, at := range all {
		if exe, err := os.Readlink(at); err != nil || exe != program {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(at))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
}

// troubled is one rollback: the trouble begins as the canary bakes, before it has
// got a request.
func troubled(
	ctx context.Context, dir string, bins map[string]string, db *pgtest.Server,
	begin func(*pgtest.Server, *pgtest.Slow) func(),
) (time.Duration, int, error) {
	way := db.Slow()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // what the server says of its database is known
	if err != nil {
		return 0, 0, err
	}
	defer null.Close()
	s, err := startServer(ctx, dir, bins,
		fmt.Sprintf("listen: 127.0.0.1:0\nlog: {level: error}\ndatabase: {url: %q}\n", way.DSN), null)
	if err != nil {
		return 0, 0, err
	}
	if err = s.goodAndBad(ctx); err == nil {
		err = s.update(ctx, 120)
	}
	if err == nil {
		err = s.baking(ctx)
	}
	if err != nil {
		s.stop()
		return 0, 0, err
	}
	end := begin(db, way)
	var e exposure
	stop := s.load(ctx, &e)
	err = e.settled()
	err = errors.Join(err, stop())
	if end == nil {
		_ = s.cmd.Process.Kill() // it could not write how it ended
		_ = s.cmd.Wait()         // as above
	} else {
		end()
		s.stop()
	}
	if err != nil {
		return 0, 0, err
	}
	return e.took()
}

// settled waits until the bad model has answered, and has not for so many requests
// that a route with it would hardly have left it out.
func (e *exposure) settled() error {
	last, since := 0, 0
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		all, bad := e.answers()
		if bad != last {
			last, since = bad, all
		}
		if bad > 0 && all-since >= 2*rollbackRate {
			return nil
		}
	}
	return errors.New("the bad model gets requests for a minute")
}

// baking waits for the bake of the canary.
func (s *benchServer) baking(ctx context.Context) error {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		e, err := s.api.DescribeEndpoint(ctx, &sagemaker.DescribeEndpointInput{EndpointName: aws.String("e")})
		if err != nil {
			return err
		}
		if p := e.PendingDeploymentSummary; p != nil && len(p.ProductionVariants) > 0 &&
			len(p.ProductionVariants[0].VariantStatus) > 0 &&
			p.ProductionVariants[0].VariantStatus[0].Status == types.VariantStatusBaking {
			return nil
		}
	}
	return errors.New("the canary did not bake within a minute")
}

// benchRollback is what the data plane does about a bad model, with a database that
// is well and with one that is not.
func benchRollback(ctx context.Context, o options) error {
	dir, bins, err := buildPrograms(ctx)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := rollbacks(ctx, filepath.Join(dir, "rollback"), bins); err != nil {
		return err
	}
	return benchTroubled(ctx, o, dir, bins)
}
