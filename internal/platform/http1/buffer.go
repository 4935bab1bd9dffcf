package http1

import "sync"

// Sizes of pooled buffers: the first for connections idle, the others for
// bodies on their way.
const (
	smallBlock  = 4 << 10
	streamBlock = 64 << 10
	largeBody   = 256 << 10 // a response beyond this is read in pieces of it
)

// block is a buffer that goes back where it came from.
type block struct {
	b     []byte
	class int
}

// blocks hands out buffers in size classes, each four times the one before;
// the last is exactly the largest that may be asked for.
type blocks struct {
	sizes []int
	pools []sync.Pool
}

func newBlocks(largest int) *blocks {
	var sizes []int
	for n := smallBlock; n < largest; n *= 4 {
		sizes = append(sizes, n)
	}
	sizes = append(sizes, largest)
	return &blocks{sizes: sizes, pools: make([]sync.Pool, len(sizes))}
}

// get returns a block of at least n bytes, or of the largest class.
func (p *blocks) get(n int) *block {
	class := 0
	for class < len(p.sizes)-1 && p.sizes[class] < n {
		class++
	}
	if b, ok := p.pools[class].Get().(*block); ok {
		return b
	}
	return &block{b: make([]byte, p.sizes[class]), class: class}
}

func (p *blocks) put(b *block) {
	if b != nil {
		p.pools[b.class].Put(b)
	}
}
