package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	runtimetypes "github.com/aws/aws-sdk-go-v2/service/sagemakerruntime/types"

	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/internal/openload"
	"github.com/slipway-ml/slipway/internal/platform/pgtest"
)

// bakingBadly returns a server with an endpoint whose canary of a model that
// only fails has just begun to bake, for so long and without a request yet.
func bakingBadly(t *testing.T, seconds int32, change ...func(*config.Config)) (*server, *sdk) {
	s := startServer(t, change...)
	c := s.sdk()
	c.deployable("good", 2, nil)
	c.deployable("bad", 2, broken(100))
	c.createEndpoint("live", "good")
	d := canaryFor(seconds)
	d.AutoRollbackConfiguration = c.guard("live", "bad")
	if len(change) > 0 { // by way of another alarm, which depends on the one of the samples
		_, err := c.cloudwatch().PutCompositeAlarm(t.Context(), &cloudwatch.PutCompositeAlarmInput{
			AlarmName: aws.String("trouble"), AlarmRule: aws.String("ALARM(bad-5xx)"),
		})
		if err != nil {
			t.Fatal(err)
		}
		d.AutoRollbackConfiguration.Alarms[0].AlarmName = aws.String("trouble")
	}
	c.update("bad", d)
	eventually(t, 30*time.Second, "the canary bakes", func() bool {
		p := c.describe("live").PendingDeploymentSummary
		return p != nil && len(p.ProductionVariants[0].VariantStatus) > 0 &&
			p.ProductionVariants[0].VariantStatus[0].Status == types.VariantStatusBaking
	})
	return s, c
}

// wantCaught sends requests and checks that the bad model is found out, and that
// the record says why its bake took longer.
func wantCaught(s *server, c *sdk, missed string) {
	t := s.t
	t.Helper()
	l := startCensus(c, "live", guardedRate)
	got := c.awaitInService("live")
	l.finish()
	if reason := aws.ToString(c.describe("live").FailureReason); got != "good" || reason != rejected {
		t.Errorf("%s is in service: %s", got, reason)
	}
	out := s.wantSlipway(0, "RolledBack", "deployments", "live")
	if at := strings.Index(out, "d-"); at < 0 {
		t.Errorf("no deployment in\n%s", out)
	} else if id, _, _ := strings.Cut(out[at:], " "); id != "" {
		s.wantSlipway(0, missed, "deployment", id)
	}
}

// The server dies as the bake of a bad model begins, and comes back when its
// wait is over: it bakes in full, and finds the model out.
func TestABakeInWhichTheServerWasDeadStartsOver(t *testing.T) {
	s, c := bakingBadly(t, 6)
	s.kill()
	time.Sleep(7 * time.Second) // longer than the wait
	s.restart()
	wantCaught(s, c, "the server was started meanwhile")
	s.stop()
}

// The same with a server that stands still.
func TestABakeInWhichTheServerStoodStillStartsOver(t *testing.T) {
	s, c := bakingBadly(t, 6)
	if err := syscall.Kill(s.cmd.Process.Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(7 * time.Second) // longer than the wait
	if err := syscall.Kill(s.cmd.Process.Pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	wantCaught(s, c, "the server stood still")
	s.stop()
}

// The database freezes as a bad model bakes; its traffic moves back all the same.
// The server is killed before any of that could be written, and the next one finds an
// alarm that never fired: it must not give the traffic to the model again.
func TestTrafficThatWasTakenBackStaysBackThoughTheServerIsKilledBeforeItIsWritten(t *testing.T) {
	db := pgtest.Start(t)
	s, c := bakingBadly(t, 60, func(cfg *config.Config) { cfg.Database.URL = db.DSN })
	db.Freeze()
	l := startCensus(c, "live", guardedRate)
	eventually(t, 30*time.Second, "the traffic is taken back, and that is noted", func() bool {
		_, err := os.Stat(filepath.Join(s.dataDir, "trips.json"))
		return err == nil
	})
	l.answers(t, 20) // those in flight have ended
	before := l.failed()
	l.answers(t, 40)
	if now := l.failed(); before == 0 || now != before {
		t.Errorf("%d requests had failed when the traffic was back, then %d", before, now)
	}
	l.finish()
	s.kill()
	db.Thaw()
	s.restart()
	l = startCensus(c, "live", guardedRate)
	got := c.awaitInService("live")
	l.finish()
	if n := l.report.Count(openload.Failed); n > 0 {
		t.Errorf("%d requests failed under the next server", n)
	}
	reason := aws.ToString(c.describe("live").FailureReason)
	if got != "good" || !strings.Contains(reason, "[trouble]") {
		t.Errorf("%s is in service: %s", got, reason)
	}
	eventually(t, 10*time.Second, "the note is gone", func() bool {
		_, err := os.Stat(filepath.Join(s.dataDir, "trips.json"))
		return os.IsNotExist(err)
	})
	s.stop()
}

// Whatever becomes of the database while a bad model bakes, its traffic is taken
// back: from some moment on the model gets no request any more, and only after that
// is there a database to write it to.
func TestTrafficIsTakenBackWhateverBecomesOfTheDatabase(t *testing.T) {
	for name, begin := range map[string]func(db *pgtest.Server, way *pgtest.Slow) (end func()){
		"frozen": func(db *pgtest.Server, _ *pgtest.Slow) func() { db.Freeze(); return db.Thaw },
		"locked": func(db *pgtest.Server, _ *pgtest.Slow) func() { db.Lock(); return db.Unlock },
		"slow": func(_ *pgtest.Server, way *pgtest.Slow) func() {
			way.By(3 * time.Second)
			return func() { way.By(0) }
		},
		"gone": func(db *pgtest.Server, _ *pgtest.Slow) func() { db.Kill(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			db := pgtest.Start(t)
			way := db.Slow()
			s, c := bakingBadly(t, 300, func(cfg *config.Config) { cfg.Database.URL = way.DSN })
			end := begin(db, way)
			l := startCensus(c, "live", guardedRate)
			eventually(t, 30*time.Second, "the traffic is taken back, and that is noted", func() bool {
				_, err := os.Stat(filepath.Join(s.dataDir, "trips.json"))
				return err == nil
			})
			l.answers(t, 20) // those in flight have ended
			before := l.failed()
			l.answers(t, 40)
			if now := l.failed(); before == 0 || now != before {
				t.Errorf("%d requests had failed when the traffic was back, then %d", before, now)
			}
			if end == nil {
				l.finish()
				s.kill()
				return
			}
			end()
			got := c.awaitInService("live")
			l.finish()
			if now := l.failed(); got != "good" || now != before {
				t.Errorf("%s is in service, %d requests have failed, before that %d", got, now, before)
			}
			s.stop()
		})
	}
}

// failed counts the requests so far that the bad model took: those that it failed.
// What a busy machine has failed is none of it.
func (l *census) failed() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.outcomes {
		if m, ok := errors.AsType[*runtimetypes.ModelError](o.err); ok && aws.ToInt32(m.OriginalStatusCode) == 500 {
			n++
		}
	}
	return n
}
