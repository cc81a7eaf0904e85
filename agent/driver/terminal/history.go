package terminal

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// history keeps the end of a stream of output. Offsets count from the
// stream's beginning.
type history struct {
	ring []byte
	// start and end bound what is kept.
	start, end int64
}

func newHistory(size int) history { return history{ring: make([]byte, size)} }

// add appends output, which is no longer than the ring.
func (h *history) add(output []byte) {
	at := int(h.end % int64(len(h.ring)))
	n := copy(h.ring[at:], output)
	copy(h.ring, output[n:])
	h.end += int64(len(output))
	h.start = max(h.start, h.end-int64(len(h.ring)))
}

// read copies what follows offset.
func (h *history) read(offset int64, into []byte) int {
	want := int(min(int64(len(into)), h.end-offset))
	at := int(offset % int64(len(h.ring)))
	n := copy(into[:want], h.ring[at:])
	copy(into[n:want], h.ring)
	return want
}

// since copies everything from offset on.
func (h *history) since(offset int64) []byte {
	into := make([]byte, h.end-offset)
	h.read(offset, into)
	return into
}

// replayFrom gives the offset at which a replay of at most size bytes begins.
// When that is not the stream's beginning it is the start of a line if one is
// near, or of an escape sequence, or at least of a character.
func (h *history) replayFrom(size int) int64 {
	const near = 8 << 10
	from := max(h.start, h.end-int64(size))
	if from == 0 {
		return 0
	}
	window := make([]byte, min(near, h.end-from))
	h.read(from, window)
	if line := bytes.IndexByte(window, '\n'); line >= 0 {
		return from + int64(line) + 1
	}
	if escape := bytes.IndexByte(window, 0x1b); escape >= 0 {
		return from + int64(escape)
	}
	for i := range window {
		if utf8.RuneStart(window[i]) {
			return from + int64(i)
		}
	}
	return from
}

// plainText leaves out control characters and escape sequences, as far as a
// person who reads the last lines of output wants it.
func plainText(output []byte) string {
	var text strings.Builder
	for i := 0; i < len(output); {
		if output[i] == 0x1b {
			i += escapeLength(output[i:])
			continue
		}
		char, size := utf8.DecodeRune(output[i:])
		i += size
		if char == '\n' || char == '\t' || char >= ' ' && char != 0x7f && char != utf8.RuneError {
			text.WriteRune(char)
		}
	}
	return strings.TrimSpace(text.String())
}

// escapeLength measures the escape sequence that output begins with (ECMA-48:
// CSI ends with a byte of @ to ~, OSC with BEL or ESC \, others are ESC,
// intermediates and a final byte).
func escapeLength(output []byte) int {
	if len(output) < 2 {
		return len(output)
	}
	switch output[1] {
	case '[':
		for i := 2; i < len(output); i++ {
			if output[i] >= 0x40 && output[i] <= 0x7e {
				return i + 1
			}
		}
		return len(output)
	case ']', 'P', '_', '^':
		for i := 2; i < len(output); i++ {
			if output[i] == 0x07 {
				return i + 1
			}
			if output[i] == 0x1b {
				return min(i+2, len(output))
			}
		}
		return len(output)
	}
	for i := 1; i < len(output); i++ {
		if output[i] < 0x20 || output[i] > 0x2f {
			return i + 1
		}
	}
	return len(output)
}
