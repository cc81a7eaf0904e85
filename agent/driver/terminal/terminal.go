// Package terminal shows one terminal to many viewers at once and lets all of
// them type. It speaks the terminal protocol of docs/protocol.md: from the
// session raw bytes, beginning with a replay of recent output; from the viewer
// messages for input and for the window's size.
package terminal

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// The bounds of a terminal. Its memory is kept, readSize and some pieces for
// each viewer.
const (
	// kept is how much output is remembered. What a viewer lags behind comes
	// out of it, so it is twice the replay: a viewer that is still taking the
	// replay may lag as far again.
	kept = 512 << 10
	// replay is the most recent output that a new viewer gets: some thousand
	// lines, more than the scrollback of common terminals.
	replay = 256 << 10
	// readSize is the most that is read at once from the device.
	readSize = 32 << 10
	// pieceSize is how much is moved at a time between what is kept and a
	// viewer, about what one read of a Linux terminal gives. With the default
	// patience a viewer that takes 40 kB/s is never disconnected.
	pieceSize = 4 << 10
	// inputQueue is how many pieces of input, of at most pieceSize, wait for the
	// program to read.
	inputQueue = 16
)

// The defaults of Options.
const (
	DefaultPatience      = 100 * time.Millisecond
	DefaultInputPatience = 30 * time.Second
	DefaultFlush         = time.Second
	DefaultMaxViewers    = 64
)

// Device is the terminal's master side. Read and Write are called by one
// goroutine each, Resize by many.
type Device interface {
	io.ReadWriter
	// Resize gives the window another size, in cells.
	Resize(columns, rows uint16) error
}

// Options configure a Terminal. The zero value of a field means its default.
type Options struct {
	// Patience is how long the program waits for a viewer that has fallen
	// behind by all that is kept. A viewer that takes nothing for that long is
	// disconnected, so nobody else is held up for longer than that a piece;
	// one that reads on slows the program down instead. DefaultPatience.
	Patience time.Duration
	// InputPatience is how long a viewer may wait for the program to read what
	// it typed, once the queue is full, before it is disconnected;
	// DefaultInputPatience.
	InputPatience time.Duration
	// Flush bounds how long Close waits for viewers to take the last output;
	// DefaultFlush.
	Flush time.Duration
	// MaxViewers bounds the viewers; one more is refused. DefaultMaxViewers.
	MaxViewers int
}

// Terminal connects a device with its viewers. Safe for concurrent use.
type Terminal struct {
	device  Device
	options Options
	inputs  chan []byte
	closing chan struct{}

	mu sync.Mutex
	// output wakes viewers, room wakes the reader of the device.
	output, room *sync.Cond
	history      history
	viewers      map[*viewer]struct{}
	closed       bool
	serving      sync.WaitGroup
}

// New makes a terminal for device. It does nothing before Run.
func New(device Device, options Options) *Terminal {
	if options.Patience <= 0 {
		options.Patience = DefaultPatience
	}
	if options.InputPatience <= 0 {
		options.InputPatience = DefaultInputPatience
	}
	if options.Flush <= 0 {
		options.Flush = DefaultFlush
	}
	if options.MaxViewers <= 0 {
		options.MaxViewers = DefaultMaxViewers
	}
	t := &Terminal{
		device:  device,
		options: options,
		inputs:  make(chan []byte, inputQueue),
		closing: make(chan struct{}),
		history: newHistory(kept),
		viewers: map[*viewer]struct{}{},
	}
	t.output, t.room = sync.NewCond(&t.mu), sync.NewCond(&t.mu)
	return t
}

// Run carries the device's output to the viewers and their input to it until
// reading the device fails, as it does when the last process has closed the
// terminal, or when the device is closed. The writer of input may outlive it
// until Close.
func (t *Terminal) Run() {
	t.takeInput()
	buffer := make([]byte, readSize)
	for {
		n, err := t.device.Read(buffer)
		t.show(buffer[:n])
		if err != nil {
			return
		}
	}
}

// takeInput starts the writer of the device, unless Close waits for everybody
// already.
func (t *Terminal) takeInput() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.serving.Go(t.pumpInput)
	}
}

// pumpInput is the only writer of the device.
func (t *Terminal) pumpInput() {
	for {
		select {
		case <-t.closing:
			return
		case input := <-t.inputs:
			if _, err := t.device.Write(input); err != nil {
				return
			}
		}
	}
}

// show keeps output and wakes the viewers. Before it overwrites what a viewer
// has not taken yet it gives that viewer the time to do so.
func (t *Terminal) show(output []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(output) > 0 {
		piece := output[:min(len(output), pieceSize)]
		output = output[len(piece):]
		t.makeRoom(int64(len(piece)))
		t.history.add(piece)
		t.output.Broadcast()
	}
}

// makeRoom waits until every viewer has taken what n more bytes overwrite, and
// disconnects those that do not do so in time.
func (t *Terminal) makeRoom(n int64) {
	needed := t.history.end + n - kept
	if !t.lags(needed) {
		return
	}
	late := false
	timer := time.AfterFunc(t.options.Patience, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		late = true
		t.room.Broadcast()
	})
	defer timer.Stop()
	for t.lags(needed) && !late && !t.closed {
		t.room.Wait()
	}
	for v := range t.viewers {
		if v.at < needed {
			t.drop(v)
		}
	}
}

// lags tells whether some viewer has not yet taken all before offset.
func (t *Terminal) lags(offset int64) bool {
	for v := range t.viewers {
		if v.at < offset {
			return true
		}
	}
	return false
}

// Serve attaches every connection of listener until that is closed.
func (t *Terminal) Serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			t.Attach(conn)
			continue
		}
		// Out of descriptors, most likely; they come back.
		select {
		case <-t.closing:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Attach makes conn a viewer, or closes it when the terminal is closed or has
// its most viewers. It does not wait for the viewer's end.
func (t *Terminal) Attach(conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.viewers) >= t.options.MaxViewers {
		_ = conn.Close()
		return
	}
	v := &viewer{terminal: t, conn: conn, at: t.history.replayFrom(replay), gone: make(chan struct{})}
	t.viewers[v] = struct{}{}
	t.serving.Go(v.showOutput)
	t.serving.Go(v.takeInput)
}

// drop disconnects v. The caller holds the lock.
func (t *Terminal) drop(v *viewer) {
	if _, attached := t.viewers[v]; !attached {
		return
	}
	delete(t.viewers, v)
	close(v.gone)
	_ = v.conn.Close() // nothing is owed to a viewer that goes
	t.output.Broadcast()
	t.room.Broadcast()
}

// Tail gives the last lines of output as plain text, out of at most the last
// size bytes.
func (t *Terminal) Tail(size int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return plainText(t.history.since(t.history.replayFrom(size)))
}

// Close lets every viewer take the last output, for at most Options.Flush,
// disconnects them and waits for every goroutine. Close the device before, or
// input that the program does not read holds it up.
func (t *Terminal) Close() {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		close(t.closing)
		for v := range t.viewers {
			_ = v.conn.SetWriteDeadline(time.Now().Add(t.options.Flush))
		}
	}
	t.output.Broadcast()
	t.room.Broadcast()
	t.mu.Unlock()
	t.serving.Wait()
}
