package mirror_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/handles"
	"github.com/slipway-ml/slipway/internal/agent/mirror"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// fake is a model that answers its input with a function of it.
type fake struct {
	answer func(ctx context.Context, x float32) (label int32, score float32, err error)
	calls  atomic.Int64
	yields []bool
}

func (f *fake) Signature() tensor.Signature { return tensor.Signature{} }

func (f *fake) Predict(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	f.calls.Add(1)
	label, score, err := f.answer(ctx, number(in[0]))
	if err != nil {
		return nil, err
	}
	return []tensor.Tensor{
		{
			Name: "label", Type: tensor.Int32, Shape: []int64{1},
			Data: binary.LittleEndian.AppendUint32(nil, uint32(label)),
		},
		floats("score", score),
	}, nil
}

func (f *fake) Close(context.Context) error { return nil }
func (f *fake) Yield(on bool)               { f.yields = append(f.yields, on) }
func (f *fake) Memory() int64               { return 7 }

func floats(name string, x float32) tensor.Tensor {
	return tensor.Tensor{
		Name: name, Type: tensor.Float32, Shape: []int64{1},
		Data: binary.LittleEndian.AppendUint32(nil, math.Float32bits(x)),
	}
}

func number(t tensor.Tensor) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(t.Data)) }

func plain(_ context.Context, x float32) (int32, float32, error) { return int32(x) % 10, x / 100, nil }

// world is a table with an old model, and a new one beside it.
type world struct {
	t     *testing.T
	table *handles.Table
	old   *fake
	fresh *fake
	run   *mirror.Run
}

// beside runs f in a bubble with a new model that runs beside an old one.
func beside(t *testing.T, old, fresh func(context.Context, float32) (int32, float32, error), m edge.Mirror,
	f func(w *world),
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, table: handles.New(handles.Options{}), old: &fake{answer: old}, fresh: &fake{answer: fresh}}
		w.table.Swap("m", &model.Loaded{Runner: w.old})
		var err error
		if w.run, err = mirror.Begin(w.table, "m", w.fresh, &m, new(mirror.Budget)); err != nil {
			t.Fatal(err)
		}
		f(w)
		w.run.End()
		if len(w.fresh.yields) != 2 || !w.fresh.yields[0] || w.fresh.yields[1] {
			t.Errorf("the new model gave way %v", w.fresh.yields)
		}
		before := w.fresh.calls.Load()
		_, _ = w.ask(99)
		synctest.Wait()
		if w.fresh.calls.Load() != before {
			t.Error("a model is asked that runs beside nothing any more")
		}
	})
}

// ask asks as an application does, which uses its memory again at once.
func (w *world) ask(x float32) ([]tensor.Tensor, error) {
	in := []tensor.Tensor{floats("x", x)}
	out, err := w.table.Predict(w.t.Context(), "m", in)
	clear(in[0].Data)
	for _, o := range out {
		clear(o.Data)
	}
	return out, err
}

func (w *world) want(want edge.Pairs) {
	w.t.Helper()
	synctest.Wait()
	got := w.run.Take()
	got.OldTime, got.NewTime = 0, 0
	if got != want {
		w.t.Errorf("counted %+v, want %+v", got, want)
	}
}

func TestAnswersToLiveRequestsAreCompared(t *testing.T) {
	wrong := func(_ context.Context, x float32) (int32, float32, error) {
		if x == 3 {
			return 8, x / 100, nil
		}
		return int32(x) % 10, x/100 + 1e-6, nil
	}
	beside(t, plain, wrong, edge.Mirror{}, func(w *world) {
		for x := range 10 {
			if _, err := w.ask(float32(x)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		w.want(edge.Pairs{Compared: 10, Differing: 1})
		for range 5 {
			_, _ = w.ask(3)
			synctest.Wait()
		}
		w.want(edge.Pairs{Repeated: 5})
		time.Sleep(21 * time.Minute) // longer than what was asked is remembered, twice
		_, _ = w.ask(42)
		synctest.Wait()
		time.Sleep(11 * time.Minute)
		_, _ = w.ask(3)
		w.want(edge.Pairs{Compared: 2, Differing: 1})
		if old, fresh := w.run.Memory(); old != 7 || fresh != 7 {
			t.Errorf("memory %d and %d", old, fresh)
		}
	})
}

func TestOnlyTheOutputsThatCountAreCompared(t *testing.T) {
	off := func(_ context.Context, x float32) (int32, float32, error) { return int32(x) % 10, x/100 + 0.03, nil }
	for name, tt := range map[string]struct {
		outputs []edge.ComparedOutput
		want    edge.Pairs
	}{
		"all":           {nil, edge.Pairs{Compared: 1, Differing: 1}},
		"the label":     {[]edge.ComparedOutput{{Name: "label"}}, edge.Pairs{Compared: 1}},
		"within enough": {[]edge.ComparedOutput{{Name: "score", Tolerance: 0.05}}, edge.Pairs{Compared: 1}},
		"within too little": {
			[]edge.ComparedOutput{{Name: "score", Tolerance: 0.01}}, edge.Pairs{Compared: 1, Differing: 1},
		},
		"one of no model": {[]edge.ComparedOutput{{Name: "nothing"}}, edge.Pairs{Apart: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			beside(t, plain, off, edge.Mirror{Outputs: tt.outputs}, func(w *world) {
				_, _ = w.ask(5)
				w.want(tt.want)
			})
		})
	}
}

func TestACopyThatFailsIsCountedAndNobodyElseNotices(t *testing.T) {
	broken := func(_ context.Context, x float32) (int32, float32, error) { return 0, 0, model.ErrFailed }
	beside(t, plain, broken, edge.Mirror{}, func(w *world) {
		if _, err := w.ask(1); err != nil {
			t.Errorf("the application got %v", err)
		}
		w.want(edge.Pairs{Failed: 1})
	})
	beside(t, broken, plain, edge.Mirror{}, func(w *world) {
		if _, err := w.ask(1); !errors.Is(err, model.ErrFailed) {
			t.Errorf("the application got %v", err)
		}
		w.want(edge.Pairs{OldFailed: 1})
	})
}

// A new model that hangs delays no call, and what it holds is bounded.
func TestASlowCopyDelaysNoCall(t *testing.T) {
	hangs := func(ctx context.Context, x float32) (int32, float32, error) {
		<-ctx.Done()
		return 0, 0, ctx.Err()
	}
	beside(t, plain, hangs, edge.Mirror{}, func(w *world) {
		begun := time.Now()
		for x := range 100 {
			if _, err := w.ask(float32(x)); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("a hundred calls took %s", took)
		}
		w.want(edge.Pairs{Shed: 96})
		time.Sleep(4 * edge.MirrorPatience)
		w.want(edge.Pairs{Late: 1, Shed: 3})
		_, _ = w.ask(200)
		w.want(edge.Pairs{Shed: 1}) // it is still at the first, for which End does not wait
	})
}

// A worker goes on with a call whose caller has left: the next copy waits for it.
func TestACopyThatIsLateIsAwaitedBeforeTheNext(t *testing.T) {
	var at, most atomic.Int64
	slow := func(ctx context.Context, x float32) (int32, float32, error) {
		if x >= 60 {
			return plain(ctx, x)
		}
		if n := at.Add(1); n > most.Load() {
			most.Store(n)
		}
		done := make(chan struct{})
		go func() { // the worker, which ends by itself
			time.Sleep(2*edge.MirrorPatience + edge.MirrorPatience/2)
			at.Add(-1)
			close(done)
		}()
		select {
		case <-done:
			return plain(ctx, x)
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
	beside(t, plain, slow, edge.Mirror{}, func(w *world) {
		for x := range 60 {
			_, _ = w.ask(float32(x))
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		if n := most.Load(); n != 1 {
			t.Errorf("the new model was at %d copies at a time", n)
		}
		synctest.Wait()
		if p := w.run.Take(); p.Late != 3 || p.Late+p.Shed != 60 || p.Compared != 0 {
			t.Errorf("counted %+v", p)
		}
		_, _ = w.ask(60)
		w.want(edge.Pairs{Compared: 1})
	})
}

// However many handles have a model beside theirs, what is kept of calls is bounded.
func TestAllModelsOfADeviceShareWhatCopiesMayTake(t *testing.T) {
	hangs := func(ctx context.Context, x float32) (int32, float32, error) {
		<-ctx.Done()
		return 0, 0, ctx.Err()
	}
	synctest.Test(t, func(t *testing.T) {
		table, budget := handles.New(handles.Options{}), new(mirror.Budget)
		for range 2 { // the second time what the first has taken is free again
			var runs []*mirror.Run
			kept, asked := 0, 0
			for _, handle := range []string{"a", "b", "c"} {
				table.Swap(handle, &model.Loaded{Runner: &fake{answer: plain}})
				r, err := mirror.Begin(table, handle, &fake{answer: hangs}, &edge.Mirror{}, budget)
				if err != nil {
					t.Fatal(err)
				}
				runs = append(runs, r)
				for x := range 4 {
					in := []tensor.Tensor{
						floats("x", float32(x)), {Name: "y", Type: tensor.Uint8, Data: make([]byte, 3<<20)},
					}
					if _, err := table.Predict(t.Context(), handle, in); err != nil {
						t.Fatal(err)
					}
					asked++
				}
				synctest.Wait()
				kept += 4 - int(r.Take().Shed)
			}
			if kept != mirror.DeviceBytes/(3<<20) {
				t.Errorf("%d of %d calls of 3 MiB were kept", kept, asked)
			}
			for _, r := range runs {
				r.End()
			}
		}
	})
}

func TestAShareOfTheRequestsIsEnough(t *testing.T) {
	beside(t, plain, plain, edge.Mirror{Share: 20}, func(w *world) {
		for x := range 1000 {
			_, _ = w.ask(float32(x))
			synctest.Wait()
		}
		if n := w.run.Take().Compared; n < 120 || n > 280 {
			t.Errorf("%d of 1000 calls were compared, where a fifth was asked for", n)
		}
	})
}

// What is in the way of a busy device, or too large for a small one, is left out.
func TestCopiesAreLeftOutWhileTheDeviceIsBusy(t *testing.T) {
	var release chan struct{} // of the bubble
	waits := func(ctx context.Context, x float32) (int32, float32, error) {
		if x < 0 {
			<-release
		}
		return plain(ctx, x)
	}
	beside(t, waits, plain, edge.Mirror{}, func(w *world) {
		release = make(chan struct{})
		done := make(chan struct{})
		const waiting = 2048 // more than twice the processors of any machine that tests this
		for range waiting {
			go func() { // ends once it is released
				_, _ = w.ask(-1)
				done <- struct{}{}
			}()
		}
		synctest.Wait()
		_, _ = w.ask(1)
		w.want(edge.Pairs{Shed: 1})
		close(release)
		for range waiting {
			<-done
		}
		synctest.Wait()
		w.run.Take()
		big := []tensor.Tensor{floats("x", 1), {Name: "y", Type: tensor.Uint8, Data: make([]byte, 5<<20)}}
		_, _ = w.table.Predict(t.Context(), "m", big)
		w.want(edge.Pairs{Shed: 1})
	})
}

func TestAHandleWithoutAModelHasNothingBesideIt(t *testing.T) {
	empty, room := handles.New(handles.Options{}), new(mirror.Budget)
	if _, err := mirror.Begin(empty, "m", &fake{answer: plain}, &edge.Mirror{}, room); err == nil {
		t.Error("a model runs beside nothing")
	}
}

// An idle mirror must cost a call nothing that anybody would notice.
func BenchmarkCallsWithAModelBeside(b *testing.B) {
	for _, on := range []bool{false, true} {
		b.Run(map[bool]string{false: "off", true: "on"}[on], func(b *testing.B) {
			table := handles.New(handles.Options{})
			table.Swap("m", &model.Loaded{Runner: &fake{answer: plain}})
			if on {
				r, err := mirror.Begin(table, "m", &fake{answer: plain}, &edge.Mirror{}, new(mirror.Budget))
				if err != nil {
					b.Fatal(err)
				}
				defer r.End()
			}
			in := []tensor.Tensor{floats("x", 1)}
			for b.Loop() {
				_, _ = table.Predict(b.Context(), "m", in)
			}
		})
	}
}

func TestInputsThatDifferInTheirKeysAreNotTheSame(t *testing.T) {
	beside(t, plain, plain, edge.Mirror{}, func(w *world) {
		for _, key := range []string{"a", "b"} {
			in := floats("x", 1)
			in.Keys = []string{key}
			if _, err := w.table.Predict(t.Context(), "m", []tensor.Tensor{in}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		w.want(edge.Pairs{Compared: 2})
	})
}
