package kubernetes

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/streamspace/streamspace/agent/driver/terminal"
)

const (
	// replayed bounds what is shown of the output before the agent looked, in bytes.
	replayed = 256 << 10
	// attachSettles is the time that an attachment has to begin before the output of
	// before is read. The API does not say when it has.
	attachSettles = 150 * time.Millisecond
	// logWithin bounds the reading of it.
	logWithin = 10 * time.Second
)

// shared is a container's terminal while somebody views it. What was shown before
// comes from its log.
type shared struct {
	*terminal.Terminal
	device  *device
	viewers int
}

// device is a container's terminal as the API gives it.
type device struct {
	output  *io.PipeReader
	input   *io.PipeWriter
	windows *windows
	end     context.CancelFunc
}

// Read implements terminal.Device.
func (d *device) Read(into []byte) (int, error) { return d.output.Read(into) }

// Write implements terminal.Device.
func (d *device) Write(input []byte) (int, error) { return d.input.Write(input) }

// Resize implements terminal.Device.
func (d *device) Resize(columns, rows uint16) error {
	d.windows.set(remotecommand.TerminalSize{Width: columns, Height: rows})
	return nil
}

// close ends the attachment, and all that waits for it.
func (d *device) close() {
	d.end()
	_ = d.output.Close()
	_ = d.input.Close()
}

// windows are the sizes that a window is to have, of which the last one counts.
type windows struct {
	mu     sync.Mutex
	begun  bool
	wanted []remotecommand.TerminalSize
	some   chan struct{}
	over   <-chan struct{}
}

func (w *windows) set(size remotecommand.TerminalSize) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wanted = w.wanted[:0]
	if !w.begun {
		// A program that finds its window changed shows its prompt again, which a log
		// does not have before the line's end.
		w.begun = true
		w.wanted = append(w.wanted, remotecommand.TerminalSize{Width: size.Width, Height: size.Height + 1})
	}
	w.wanted = append(w.wanted, size)
	select {
	case w.some <- struct{}{}:
	default: // one is enough to wake
	}
}

// Next implements remotecommand.TerminalSizeQueue.
func (w *windows) Next() *remotecommand.TerminalSize {
	for {
		w.mu.Lock()
		if len(w.wanted) > 0 {
			next := w.wanted[0]
			w.wanted = w.wanted[1:]
			w.mu.Unlock()
			return &next
		}
		w.mu.Unlock()
		select {
		case <-w.some:
		case <-w.over:
			return nil
		}
	}
}

// joinTerminal makes a viewer of a container's terminal. With the last viewer goes
// what the agent has of it.
func (d *Driver) joinTerminal(ctx context.Context, pod string, uid types.UID) (net.Conn, error) {
	key := string(uid)
	release, err := d.others.Take(ctx, "terminal "+key)
	if err != nil {
		return nil, err
	}
	defer release()
	d.mu.Lock()
	one := d.terminals[key]
	if one != nil {
		one.viewers++
	}
	d.mu.Unlock()
	if one == nil {
		screen, err := d.attach(ctx, pod)
		if err != nil {
			return nil, err
		}
		one = &shared{Terminal: terminal.New(screen, terminal.Options{}), device: screen, viewers: 1}
		d.mu.Lock()
		d.terminals[key] = one
		d.mu.Unlock()
		go d.show(key, one)
	}
	ours, theirs := net.Pipe()
	one.Attach(ours)
	return &view{Conn: theirs, leave: sync.OnceFunc(func() { d.leaveTerminal(key, one) })}, nil
}

// attach connects to a container's terminal.
func (d *Driver) attach(ctx context.Context, pod string) (*device, error) {
	request := d.api.CoreV1().RESTClient().Post().Resource("pods").Namespace(d.config.Namespace).Name(pod).SubResource("attach").
		VersionedParams(&core.PodAttachOptions{Container: containerName, Stdin: true, Stdout: true, TTY: true}, scheme.ParameterCodec)
	newer, err := remotecommand.NewWebSocketExecutor(d.access, "GET", request.URL().String())
	if err != nil {
		return nil, err
	}
	spdy, err := remotecommand.NewSPDYExecutor(d.access, "POST", request.URL())
	if err != nil {
		return nil, err
	}
	executor, err := remotecommand.NewFallbackExecutor(newer, spdy, older)
	if err != nil {
		return nil, err
	}
	attached, end := context.WithCancel(context.WithoutCancel(ctx))
	input, typed := io.Pipe()
	output, shown := io.Pipe()
	screen := &device{output: output, input: typed, end: end,
		windows: &windows{some: make(chan struct{}, 1), over: attached.Done()}}
	live := &live{to: shown, begun: make(chan struct{})}
	go func() {
		err := executor.StreamWithContext(attached, remotecommand.StreamOptions{Stdin: input, Stdout: live, Tty: true, TerminalSizeQueue: screen.windows})
		end()
		_ = shown.CloseWithError(io.EOF)
		_ = input.CloseWithError(io.ErrClosedPipe)
		if err != nil {
			d.config.Logger.Debug("a terminal's connection has ended", "pod", pod, "error", err)
		}
	}()
	live.mu.Lock() // nothing is shown before what was before
	go func() {
		defer live.mu.Unlock()
		settled := time.NewTimer(attachSettles)
		defer settled.Stop()
		select {
		case <-settled.C:
		case <-live.begun:
		case <-attached.Done():
		}
		before := d.said(attached, pod)
		select {
		case <-live.begun:
			live.before = before // which may have the beginning of what is new
		default:
		}
		if _, err := shown.Write(before); err != nil {
			end()
		}
	}()
	return screen, nil
}

// said is the end of what a container has put out so far, in whole lines.
func (d *Driver) said(ctx context.Context, pod string) []byte {
	ctx, cancel := context.WithTimeout(ctx, logWithin)
	defer cancel()
	lines := int64(replayed / 64)
	said, err := d.api.CoreV1().Pods(d.config.Namespace).GetLogs(pod, &core.PodLogOptions{Container: containerName, TailLines: &lines}).DoRaw(ctx)
	if err != nil && ctx.Err() == nil {
		d.config.Logger.Warn("a terminal is shown without what it showed before", "pod", pod, "error", err)
	}
	return said[max(0, len(said)-replayed):]
}

// live is where an attachment puts its output: after what was before, without
// what that has already.
type live struct {
	to *io.PipeWriter
	// begun is closed with the first output.
	begun chan struct{}
	once  sync.Once
	// mu is held until what was before is there.
	mu     sync.Mutex
	before []byte
}

// Write implements io.Writer.
func (l *live) Write(output []byte) (int, error) {
	l.once.Do(func() { close(l.begun) })
	l.mu.Lock()
	defer l.mu.Unlock()
	known := overlap(l.before, output)
	l.before = nil
	n, err := l.to.Write(output[known:])
	return known + n, err
}

// overlap is how much of the beginning of next is the end of before.
func overlap(before, next []byte) int {
	for n := min(len(before), len(next)); n > 0; n-- {
		if bytes.HasSuffix(before, next[:n]) {
			return n
		}
	}
	return 0
}

// show carries the terminal's output until the container ends or nobody views it.
func (d *Driver) show(key string, one *shared) {
	one.Run()
	d.mu.Lock()
	if d.terminals[key] == one {
		delete(d.terminals, key)
	}
	d.mu.Unlock()
	one.device.close()
	one.Close()
}

func (d *Driver) leaveTerminal(key string, one *shared) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if one.viewers--; one.viewers == 0 {
		if d.terminals[key] == one {
			delete(d.terminals, key)
		}
		one.device.close() // show ends, and the rest with it
	}
}

// view is a viewer's end of a terminal.
type view struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (v *view) Close() error {
	err := v.Conn.Close()
	v.leave()
	return err
}
