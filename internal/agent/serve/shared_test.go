package serve_test

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	em "github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
	"github.com/slipway-ml/slipway/internal/agent/serve"
)

// share puts data into a segment of its own and makes it read-only, unless
// open.
func share(t testing.TB, data []byte, open bool) uint64 {
	t.Helper()
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, len(data), unix.IPC_CREAT|0o600)
	if err != nil {
		t.Skip("no System V shared memory here: ", err)
	}
	t.Cleanup(func() {
		if _, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Error(err)
		}
	})
	b, err := unix.SysvShmAttach(id, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	copy(b, data)
	if err := unix.SysvShmDetach(b); err != nil {
		t.Fatal(err)
	}
	if !open {
		var d unix.SysvShmDesc
		if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &d); err != nil {
			t.Fatal(err)
		}
		d.Perm.Mode = 0o400
		if _, err := unix.SysvShmCtl(id, unix.IPC_SET, &d); err != nil {
			t.Fatal(err)
		}
	}
	return uint64(id)
}

func shared(m *em.TensorMetadata, id, offset, size uint64) *em.Tensor {
	return &em.Tensor{
		TensorMetadata: m, Data: &em.Tensor_SharedMemoryHandle{
			SharedMemoryHandle: &em.SharedMemoryHandle{SegmentId: id, Offset: offset, Size: size},
		},
	}
}

func TestTensorsMayLieInSharedMemory(t *testing.T) {
	w := start(t, func(c *serve.Config) { c.MaxShared = 1000 })
	id := share(t, append(make([]byte, 8), floats(1, 2, 3, 4, 5, 6, 7, 8)...), false)
	two := meta("", em.DataType_FLOAT32, 2, 4)
	for name, c := range map[string]*em.Tensor{
		"a window":                            shared(two, id, 8, 32),
		"no size, for the shape says it":      shared(two, id, 8, 0),
		"no shape, for the window says it":    shared(nil, id, 8, 32),
		"neither: the rest of the segment":    shared(nil, id, 8, 0),
		"an open dimension and a full window": shared(meta("", em.DataType_FLOAT32, -1, 4), id, 8, 32),
	} {
		t.Run(name, func(t *testing.T) {
			r, err := w.agent.Predict(t.Context(), &em.PredictRequest{Name: "double", Tensors: []*em.Tensor{c}})
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Tensors[0].GetByteData(); !bytes.Equal(got, floats(2, 4, 6, 8, 10, 12, 14, 16)) {
				t.Errorf("got % x", got)
			}
		})
	}
	writable := share(t, make([]byte, 32), true)
	large := share(t, make([]byte, 1<<20), false)
	for name, c := range map[string]struct {
		tensor *em.Tensor
		code   codes.Code
		says   string
	}{
		"writable": {
			shared(two, writable, 0, 32), codes.InvalidArgument, "make it read-only for everyone (0400)",
		},
		"outside": {
			shared(two, id, 9, 32), codes.InvalidArgument,
			"lie outside the shared memory segment " + strconv.FormatUint(id, 10) + ", which has 40",
		},
		"too short": {shared(two, id, 20, 0), codes.InvalidArgument, "32 bytes are needed from 20 on"},
		"not there": {
			shared(two, 1<<31-1, 0, 32), codes.InvalidArgument, "there is no shared memory segment",
		},
		"more than is allowed": {
			shared(nil, large, 0, 0), codes.ResourceExhausted, "more shared memory than the limit",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.agent.Predict(t.Context(), &em.PredictRequest{Name: "double", Tensors: []*em.Tensor{c.tensor}})
			if says := wantCode(t, err, c.code); !strings.Contains(says, c.says) {
				t.Errorf("got %s", says)
			}
		})
	}
	_, err := w.agent.CaptureData(t.Context(), &em.CaptureDataRequest{
		ModelName: "double", CaptureId: "c", InputTensors: []*em.Tensor{shared(two, id, 8, 0)},
	})
	if err != nil || !bytes.Equal(w.kept.got["c"].Inputs[0].Data, floats(1, 2, 3, 4, 5, 6, 7, 8)) {
		t.Errorf("captured %v, %v", w.kept.got, err)
	}
}

// A model may give back what it got: that memory is not lent again before it
// was sent.
func TestAnAnswerThatLiesInTheRequestIsSentWhole(t *testing.T) {
	w := start(t, nil)
	var calls sync.WaitGroup
	for i := range 4 {
		data := bytes.Repeat([]byte{byte(i + 1)}, 1<<20)
		in := shared(meta("x", em.DataType_UINT8, int32(len(data))), share(t, data, false), 0, 0)
		calls.Go(func() {
			for range 20 {
				r, err := w.agent.Predict(t.Context(), &em.PredictRequest{Name: "any", Tensors: []*em.Tensor{in}})
				if err != nil {
					t.Error(err)
					return
				}
				if !bytes.Equal(r.Tensors[0].GetByteData(), data) {
					t.Error("the answer is not what was sent")
				}
			}
		})
	}
	calls.Wait()
}
