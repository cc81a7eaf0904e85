package terminal_test

import (
	"net"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/agent/driver/terminal"
)

// Whatever a viewer sends: it is either understood or disconnected.
func FuzzViewer(f *testing.F) {
	f.Add(input("ls\r"))
	f.Add(append(resize(80, 24), input("x")...))
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3})
	f.Add([]byte{1, 0})
	f.Add([]byte{9})
	f.Fuzz(func(t *testing.T, sent []byte) {
		run(t, terminal.Options{}, func(t *testing.T, d *device, shown *terminal.Terminal) {
			conn := viewer(t, shown)
			// A pipe waits for its reader; one that has gone ends the write.
			_, _ = conn.Write(sent)
			synctest.Wait()
			if got := len(d.input()); got > len(sent) {
				t.Errorf("of %d bytes %d were typed", len(sent), got)
			}
			_ = conn.Close()
		})
	})
}

// Whatever is printed: the viewers see it, in order and once.
func TestOutputProperty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		pieces := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 3000), 1, 40).Draw(r, "output")
		at := rapid.IntRange(0, len(pieces)).Draw(r, "late viewer")
		synctest.Test(t, func(t *testing.T) {
			d := newDevice()
			shown := terminal.New(d, terminal.Options{})
			go shown.Run()
			early := viewer(t, shown)
			var late net.Conn
			all := ""
			for i, piece := range pieces {
				if i == at {
					synctest.Wait()
					late = viewer(t, shown)
				}
				d.print(t, string(piece))
				all += string(piece)
			}
			if got := reads(early); got != all {
				t.Errorf("of %d bytes the early viewer sees %d", len(all), len(got))
			}
			if late != nil {
				if got := reads(late); got != all {
					t.Errorf("of %d bytes the late viewer sees %d", len(all), len(got))
				}
			}
			shown.Tail(100)
			_ = d.prints.Close()
			shown.Close()
		})
	})
}
