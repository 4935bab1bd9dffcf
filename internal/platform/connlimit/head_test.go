package connlimit_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
)

// A head may have 64 KiB. Thousands of them that are never ended hold no more memory
// than bodies may, and one address not all of that.
func TestHeadsArePaidFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := connlimit.NewBudget(400_000) // a quarter of it for an address
		var turned []connlimit.Reason
		w := serve(t, connlimit.Config{
			Max: 100, Heads: budget, Turned: func(why connlimit.Reason) { turned = append(turned, why) },
		})
		half := func() *client {
			c := w.dial()
			go func() { _, _ = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: h\r\nX: %s", strings.Repeat("x", 60_000)) }()
			synctest.Wait()
			return c
		}
		first := half()
		if n := budget.Used(); n < 55_000 || n > 100_000 {
			t.Errorf("a head of 60,000 bytes costs %d", n)
		}
		for range 5 {
			w.want("one more", half().answer(), "closed")
		}
		if len(turned) != 5 || turned[0] != connlimit.NoMemory {
			t.Errorf("turned away: %v", turned)
		}
		w.want("a small one", w.dial().get("/"), "200")
		fmt.Fprint(first, "\r\n\r\n")
		w.want("the first", first.answer(), "200")
		if n := budget.Used(); n != 0 {
			t.Errorf("%d bytes are held when all is answered", n)
		}
		second := half()
		fmt.Fprint(second, "\r\n\r\n")
		w.want("another large one", second.answer(), "200")
		w.want("the first, again", first.get("/"), "200")
		if n := budget.Used(); n != 0 {
			t.Errorf("%d bytes are held at the end", n)
		}
	})
}

func TestWhoIsTurnedAwayIsCountedAndToldNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		turned := map[connlimit.Reason]int{}
		w := serve(t, connlimit.Config{
			Max: 4, PerAddress: 4, PerKey: 4, Listener: "door", Log: slog.New(slog.NewTextHandler(&log, nil)),
			Turned: func(why connlimit.Reason) { turned[why]++ },
		})
		for range 4 {
			fmt.Fprintf(w.dial(), "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n")
			synctest.Wait()
		}
		for range 50 {
			w.want("one more", w.dial().get("/"), "503")
		}
		if turned[connlimit.ManyConnections] != 50 {
			t.Errorf("turned away: %v", turned)
		}
		time.Sleep(time.Minute)
		w.want("one more", w.dial().get("/"), "503")
		text := log.String()
		if n := strings.Count(text, "reason=connections"); n != 2 || !strings.Contains(text, "turned_away=50 ") ||
			!strings.Contains(text, "listener=door") {
			t.Errorf("the log has %d lines of it:\n%s", n, text)
		}
		close(w.hold)
	})
}
