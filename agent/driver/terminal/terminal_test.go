package terminal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/agent/driver/terminal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// device is a terminal whose program is the test.
type device struct {
	output *io.PipeReader
	prints *io.PipeWriter

	mu    sync.Mutex
	typed bytes.Buffer
	sizes []string
	// deaf makes writes wait for it.
	deaf chan struct{}
}

func newDevice() *device {
	d := &device{}
	d.output, d.prints = io.Pipe()
	return d
}

func (d *device) Read(p []byte) (int, error) { return d.output.Read(p) }

func (d *device) Write(p []byte) (int, error) {
	if d.deaf != nil {
		<-d.deaf
		return 0, io.ErrClosedPipe
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.typed.Write(p)
}

func (d *device) Resize(columns, rows uint16) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sizes = append(d.sizes, fmt.Sprintf("%dx%d", columns, rows))
	return nil
}

func (d *device) input() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.typed.String()
}

// print is output of the program. It returns when the terminal has taken it.
func (d *device) print(t *testing.T, text string) {
	t.Helper()
	if _, err := d.prints.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// run runs a terminal in a bubble of virtual time and closes everything.
func run(t *testing.T, options terminal.Options, test func(*testing.T, *device, *terminal.Terminal)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		shown := terminal.New(d, options)
		go shown.Run()
		defer func() {
			_ = d.prints.Close()
			shown.Close()
		}()
		test(t, d, shown)
	})
}

// viewer attaches one whose end of the connection is given.
func viewer(t *testing.T, shown *terminal.Terminal) net.Conn {
	t.Helper()
	theirs, ours := net.Pipe()
	t.Cleanup(func() { _ = ours.Close() })
	shown.Attach(theirs)
	return ours
}

// reads gives everything that comes until nothing more does.
func reads(conn net.Conn) string {
	var all strings.Builder
	buffer := make([]byte, 64<<10)
	for {
		// A pipe whose other end is closed takes no deadline, and needs none.
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := conn.Read(buffer)
		all.Write(buffer[:n])
		if err != nil {
			return all.String()
		}
	}
}

// isOpen tells whether the connection still is, to a viewer that has read all.
func isOpen(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute)) // as in reads
	_, err := io.Copy(io.Discard, conn)
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

func input(text string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...)
}

func resize(columns, rows uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16([]byte{1}, columns), rows)
}

// A terminal may be closed while it begins; the race detector tells if Close
// then waits for less than everybody.
func TestClosingWhileBeginning(t *testing.T) {
	for range 200 {
		run(t, terminal.Options{}, func(*testing.T, *device, *terminal.Terminal) {})
	}
}

func TestEverybodySeesAndTypes(t *testing.T) {
	run(t, terminal.Options{}, func(t *testing.T, d *device, shown *terminal.Terminal) {
		one, two := viewer(t, shown), viewer(t, shown)
		d.print(t, "hello\r\n")
		for _, conn := range []net.Conn{one, two} {
			if got := reads(conn); got != "hello\r\n" {
				t.Errorf("a viewer sees %q", got)
			}
		}
		for i, conn := range []net.Conn{one, two} {
			if _, err := conn.Write(append(input(fmt.Sprintf("from %d;", i)), resize(80+uint16(i), 24)...)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if got := d.input(); got != "from 0;from 1;" {
			t.Errorf("the program gets %q", got)
		}
		if got := fmt.Sprint(d.sizes); got != "[80x24 81x24]" {
			t.Errorf("the window was %s", got)
		}
	})
}

// Messages may come in any pieces, and long ones too.
func TestInputInPieces(t *testing.T) {
	run(t, terminal.Options{}, func(t *testing.T, d *device, shown *terminal.Terminal) {
		conn := viewer(t, shown)
		text := strings.Repeat("0123456789abcdef", terminal.MaxInput/16)
		stream := append(append(input("a"), resize(1, 2)...), input(text)...)
		for len(stream) > 0 {
			n := min(len(stream), 1+len(stream)%7777)
			if _, err := conn.Write(stream[:n]); err != nil {
				t.Fatal(err)
			}
			stream = stream[n:]
		}
		synctest.Wait()
		if d.input() != "a"+text {
			t.Error("the input is not what was typed")
		}
	})
}

func TestSenselessViewersAreDisconnected(t *testing.T) {
	for name, message := range map[string][]byte{
		"unknown message":  {7},
		"too much at once": {0, 0, 0x10, 0, 1},
		"no columns":       resize(0, 24),
		"no rows":          resize(80, 0),
	} {
		t.Run(name, func(t *testing.T) {
			run(t, terminal.Options{}, func(t *testing.T, d *device, shown *terminal.Terminal) {
				conn, other := viewer(t, shown), viewer(t, shown)
				if _, err := conn.Write(message); err != nil {
					t.Fatal(err)
				}
				if isOpen(conn) {
					t.Error("the viewer stays")
				}
				if !isOpen(other) {
					t.Error("another viewer had to go")
				}
				if got := d.input(); got != "" || len(d.sizes) > 0 {
					t.Errorf("the program gets %q and sizes %v", got, d.sizes)
				}
			})
		})
	}
}

// A viewer that reads nothing delays the others once, and goes.
func TestStalledViewer(t *testing.T) {
	run(t, terminal.Options{}, func(t *testing.T, d *device, shown *terminal.Terminal) {
		stalled, reading := viewer(t, shown), viewer(t, shown)
		var seen bytes.Buffer
		over := make(chan struct{})
		go func() {
			defer close(over)
			_, _ = io.Copy(&seen, reading)
		}()
		text := strings.Repeat("0123456789abcde\n", 64<<10)
		begun := time.Now()
		d.print(t, text)
		if took := time.Since(begun); took != terminal.DefaultPatience {
			t.Errorf("the program was held up for %v", took)
		}
		d.print(t, text)
		if took := time.Since(begun); took != terminal.DefaultPatience {
			t.Errorf("the program was held up again: %v", took)
		}
		if isOpen(stalled) {
			t.Error("the stalled viewer stays")
		}
		synctest.Wait()
		_ = reading.Close()
		<-over
		if seen.String() != text+text {
			t.Errorf("the other viewer has seen %d bytes of %d", seen.Len(), 2*len(text))
		}
	})
}

// A viewer that is slow and reads on sees everything: the program waits.
func TestSlowViewer(t *testing.T) {
	run(t, terminal.Options{}, func(t *testing.T, d *device, shown *terminal.Terminal) {
		conn := viewer(t, shown)
		text := strings.Repeat("the quick brown fox\r\n", 50_000) // a megabyte
		go func() { _, _ = d.prints.Write([]byte(text)) }()
		var seen bytes.Buffer
		buffer := make([]byte, 4<<10)
		for seen.Len() < len(text) {
			// 50 kB/s.
			<-time.After(80 * time.Millisecond)
			n, err := conn.Read(buffer)
			seen.Write(buffer[:n])
			if err != nil {
				t.Fatalf("after %d bytes of %d: %v", seen.Len(), len(text), err)
			}
		}
		if seen.String() != text {
			t.Error("the viewer has not seen what was printed")
		}
	})
}

// Who comes late sees the end of what there was, from the beginning of a line.
func TestReplay(t *testing.T) {
	run(t, terminal.Options{}, func(t *testing.T, d *device, shown *terminal.Terminal) {
		var all strings.Builder
		for i := range 100_000 {
			fmt.Fprintf(&all, "line %d: \x1b[3%dmäöü\x1b[0m\r\n", i, i%8)
		}
		d.print(t, all.String())
		synctest.Wait()
		got := reads(viewer(t, shown))
		if !strings.HasSuffix(all.String(), got) || !strings.HasPrefix(got, "line ") {
			t.Errorf("the replay is %.40q…", got)
		}
		if len(got) > 256<<10 || len(got) < 255<<10 {
			t.Errorf("the replay has %d bytes", len(got))
		}
	})
}

// Without lines the replay begins with an escape sequence or a character.
func TestReplayWithoutLines(t *testing.T) {
	for name, piece := range map[string]string{"sequences": "\x1b[38;5;196m*", "characters": "世界"} {
		t.Run(name, func(t *testing.T) {
			run(t, terminal.Options{}, func(t *testing.T, d *device, shown *terminal.Terminal) {
				d.print(t, "x"+strings.Repeat(piece, 200_000))
				synctest.Wait()
				got := reads(viewer(t, shown))
				if first := []rune(piece)[0]; []rune(got)[0] != first && []rune(got)[0] != []rune(piece)[1] {
					t.Errorf("the replay begins with %.20q", got)
				}
			})
		})
	}
}

func TestTooManyViewers(t *testing.T) {
	run(t, terminal.Options{MaxViewers: 2}, func(t *testing.T, d *device, shown *terminal.Terminal) {
		one, two, three := viewer(t, shown), viewer(t, shown), viewer(t, shown)
		if isOpen(three) || !isOpen(one) || !isOpen(two) {
			t.Error("not the last one is refused")
		}
		_ = one.Close()
		synctest.Wait()
		if !isOpen(viewer(t, shown)) {
			t.Error("the place of who has left is not given again")
		}
	})
}

// A program that reads nothing does not keep a viewer that types for ever, nor
// the output from anybody.
func TestProgramThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		d.deaf = make(chan struct{})
		shown := terminal.New(d, terminal.Options{})
		go shown.Run()
		typing, watching := viewer(t, shown), viewer(t, shown)
		go func() { _, _ = typing.Write(input(strings.Repeat("x", 1<<20))) }()
		synctest.Wait()
		d.print(t, "still here")
		if got := reads(watching); got != "still here" {
			t.Errorf("a viewer sees %q", got)
		}
		<-time.After(terminal.DefaultInputPatience)
		if isOpen(typing) {
			t.Error("the viewer that types stays")
		}
		_ = d.prints.Close()
		close(d.deaf)
		shown.Close()
	})
}

// The end of the session is seen, also by who is slow; who reads nothing does
// not delay it for long.
func TestCloseShowsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice()
		shown := terminal.New(d, terminal.Options{})
		over := make(chan struct{})
		go func() {
			defer close(over)
			shown.Run()
		}()
		reading, stalled := viewer(t, shown), viewer(t, shown)
		text := strings.Repeat("last words\n", 10_000)
		d.print(t, text)
		_ = d.prints.Close()
		<-over
		var seen string
		read := make(chan struct{})
		go func() {
			defer close(read)
			seen = reads(reading)
		}()
		begun := time.Now()
		shown.Close()
		if took := time.Since(begun); took != terminal.DefaultFlush {
			t.Errorf("closing took %v", took)
		}
		<-read
		if seen != text {
			t.Errorf("the viewer has seen %d bytes of %d", len(seen), len(text))
		}
		if isOpen(stalled) || isOpen(viewer(t, shown)) {
			t.Error("a viewer stays on a closed terminal")
		}
		shown.Close()
	})
}

func TestTailIsPlainText(t *testing.T) {
	run(t, terminal.Options{}, func(t *testing.T, d *device, shown *terminal.Terminal) {
		d.print(t, "\x1b]0;title\x07\x1b[?2004h$ \x1b[1;31mmake\x1b[0m\r\n\x1b(Bno rule to make \x1b]8;;http://x\x1b\\tärget\x1b]8;;\x1b\\\x07\r\n\x1b")
		synctest.Wait()
		if got := shown.Tail(1 << 10); got != "$ make\nno rule to make tärget" {
			t.Errorf("the tail is %q", got)
		}
		d.print(t, "\r\nfirst line\r\nsecond")
		synctest.Wait()
		if got := shown.Tail(len("st line\r\nsecond")); got != "second" {
			t.Errorf("a tail that begins within a line is %q", got)
		}
	})
}

func TestServe(t *testing.T) {
	listener, err := net.Listen("unix", t.TempDir()+"/terminal.sock")
	if err != nil {
		t.Fatal(err)
	}
	d := newDevice()
	shown := terminal.New(d, terminal.Options{})
	var serving sync.WaitGroup
	serving.Go(shown.Run)
	serving.Go(func() { shown.Serve(listener) })
	d.print(t, "before")
	conn, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	got := make([]byte, len("before"))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "before" {
		t.Errorf("the viewer sees %q, %v", got, err)
	}
	_ = listener.Close()
	_ = d.prints.Close()
	serving.Wait()
	shown.Close()
}
