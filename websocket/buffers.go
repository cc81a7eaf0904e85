package websocket

import (
	"bytes"
	"sync"
)

// keptFrame bounds what a buffer may have grown to and still be kept, in bytes.
const keptFrame = 64 << 10

// buffers are there to read frames into. An agent has one only while its frame
// is being handled: most are silent most of the time.
type buffers struct{ pool sync.Pool }

func (b *buffers) take() *bytes.Buffer {
	if kept, ok := b.pool.Get().(*bytes.Buffer); ok {
		return kept
	}
	return &bytes.Buffer{}
}

func (b *buffers) put(buffer *bytes.Buffer) {
	if buffer.Cap() <= keptFrame {
		buffer.Reset()
		b.pool.Put(buffer)
	}
}
