package processes

import (
	"strings"
	"sync"
)

// maxOutput bounds what is kept of a program's output, in bytes. Programs say
// what matters here in their first and last few lines.
const maxOutput = 256 << 10

// output collects what a program writes, the newest part of it. Safe for
// concurrent use.
type output struct {
	mu      sync.Mutex
	text    string
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text += string(p)
	o.text = o.text[max(0, len(o.text)-maxOutput):]
	close(o.changed)
	o.changed = make(chan struct{})
	return len(p), nil
}

// String gives what is kept.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text
}

// line finds the first whole line that has text. Without one it gives a channel
// that is closed when there is more.
func (o *output) line(text string) (found string, more <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for line := range strings.Lines(o.text) {
		if strings.HasSuffix(line, "\n") && strings.Contains(line, text) {
			return strings.TrimSpace(line), nil
		}
	}
	return "", o.changed
}
