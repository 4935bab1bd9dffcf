package connlimit_test

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
)

// visitor is a connection as a naive reader of the package's promises has it.
type visitor struct {
	*connlimit.Place
	at        byte
	came      time.Time
	proven    bool
	answering bool
	heard     bool // it has made a request, or waited for one after another
	gone      bool
}

// Whatever comes, waits, proves and leaves in whatever order: there are never more
// connections than there may be, nobody known is closed while he is answered or while
// a stranger waits who has had his turn, and no stranger within his shortest turn but
// for somebody from where there are fewer.
func FuzzPlaces(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1})
	f.Add([]byte{0, 1, 2, 0, 3, 0, 0, 2, 2, 1, 0, 3, 5, 200, 0, 4, 0, 5, 0, 6, 1, 0, 4, 1})
	f.Add([]byte{0, 0, 2, 0, 0, 0, 2, 1, 0, 0, 2, 2, 3, 0, 3, 1, 3, 2, 0, 7, 0, 7, 6, 0, 5, 255, 0, 7, 7, 0})
	f.Add([]byte{0, 1, 2, 0, 3, 0, 0, 2, 4, 1, 0, 3, 0, 3, 0, 4, 0, 4, 0, 5, 0, 6}) // a body beside one that is known
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 400 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			w := &visits{t: t, l: connlimit.New(connlimit.Config{
				Max: 6, PerAddress: 4, PerKey: 3, Turn: 10 * time.Second, Handshake: len(ops)%2 == 0,
			})}
			for ; len(ops) >= 2; ops = ops[2:] {
				w.step(ops[0]%8, ops[1])
			}
			for _, v := range w.all {
				if !v.gone {
					v.Leave()
				}
			}
			if n := w.l.Len(); n != 0 {
				t.Errorf("%d are left when all have gone", n)
			}
		})
	})
}

type visits struct {
	t        *testing.T
	l        *connlimit.Limiter
	all      []*visitor
	entering byte // the address that the one comes from who is about to enter
	proving  bool // somebody proves a key: others of that key make room
}

func (w *visits) step(op, arg byte) {
	if op == 0 {
		w.enter(arg % 8)
		return
	}
	if op == 5 {
		time.Sleep(time.Duration(arg) * 20 * time.Millisecond)
		return
	}
	if len(w.all) == 0 {
		return
	}
	v := w.all[int(arg)%len(w.all)]
	if v.gone {
		return
	}
	switch op {
	case 1, 7:
		v.answering = v.Answer() && v.proven
	case 2:
		before := v.proven
		w.proving = true
		if v.Prove(string('k'+rune(arg%2))) && !v.gone {
			v.proven, v.answering = true, v.answering || !before
		}
		w.proving = false
	case 3:
		if !v.Wait(time.Now()) {
			w.t.Error("one that was not closed is said to be")
		}
		v.answering, v.heard = false, true
	case 4:
		if !v.WaitForBody(time.Now()) {
			w.t.Error("one that was not closed is said to be")
		}
		v.answering, v.heard = false, true
	case 6:
		v.Leave()
		v.gone = true
	}
	w.count()
}

func (w *visits) enter(at byte) {
	v := &visitor{at: at, came: time.Now()}
	w.entering = at
	from := &net.TCPAddr{IP: net.IPv4(192, 0, 2, at)}
	v.Place = w.l.Enter(from, func() error { w.closed(v); return nil })
	if v.Place != nil {
		w.all = append(w.all, v)
	}
	w.count()
}

// closed says that v had to make room.
func (w *visits) closed(v *visitor) {
	v.gone = true
	switch {
	case v.answering:
		w.t.Error("one is closed that is being answered")
	case v.proven:
		for _, o := range w.all {
			if idle := !o.gone && !o.proven && o.heard; idle && !w.proving {
				w.t.Error("one that is known is closed while a stranger waits who had his turn")
			}
		}
	case !v.heard && time.Since(v.came) < 100*time.Millisecond && w.strangers(v.at) <= w.strangers(w.entering):
		w.t.Error("a stranger is closed within his shortest turn")
	}
}

// strangers counts those of an address who have proven nothing.
func (w *visits) strangers(at byte) (n int) {
	for _, v := range w.all {
		if !v.gone && !v.proven && v.at == at {
			n++
		}
	}
	return n
}

func (w *visits) count() {
	w.t.Helper()
	n, strangers := 0, map[byte]int{}
	for _, v := range w.all {
		if !v.gone {
			n++
			if !v.proven && !v.Spare() {
				strangers[v.at]++
			}
		}
	}
	if got := w.l.Len(); got != n || n > 6+1 {
		w.t.Errorf("%d connections, %d counted, of 6 and one to spare", got, n)
	}
	for at, n := range strangers {
		if n > 4 {
			w.t.Errorf("%d strangers of address %d, of 4", n, at)
		}
	}
}
