package connlimit_test

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
)

// A crowd from one address: those who have begun end their handshake, and who
// comes too many has to come again. It keeps nobody out who comes from elsewhere.
func TestACrowdDoesNotCloseWhatIsHalfDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := connlimit.New(connlimit.Config{
			Max: 6, PerAddress: 4, Handshake: true,
		})
		var closed []string
		enter := func(name string, at byte) *connlimit.Place {
			time.Sleep(time.Millisecond)
			from := &net.TCPAddr{IP: net.IPv4(192, 0, 2, at)}
			return l.Enter(from, func() error { closed = append(closed, name); return nil })
		}
		var crowd []*connlimit.Place
		for i := range 4 {
			crowd = append(crowd, enter(fmt.Sprint("crowd ", i), 1))
		}
		for range 10 {
			if enter("too many", 1) != nil {
				t.Fatal("one too many got a place")
			}
		}
		crowd[0].Prove("k0")
		if enter("crowd 4", 1) == nil || len(closed) != 0 {
			t.Fatal("no room after one was done, or closed:", closed)
		}
		if enter("other 0", 2) == nil || len(closed) != 0 {
			t.Fatal("no room for another address, or closed:", closed)
		}
		// All are taken: the crowd makes room for another.
		if enter("other 1", 3) == nil || !slices.Equal(closed, []string{"crowd 1"}) {
			t.Error("closed:", closed)
		}
		if enter("other 2", 4) == nil || !slices.Equal(closed, []string{"crowd 1", "crowd 2"}) {
			t.Error("closed:", closed)
		}
		time.Sleep(10 * time.Second) // those that are left did nothing with their time
		if enter("late", 1) == nil || len(closed) != 3 || closed[2] != "crowd 3" {
			t.Error("closed:", closed)
		}
	})
}
