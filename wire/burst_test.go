package wire_test

import (
	"net"
	"testing"
	"time"

	"github.com/streamspace/streamspace/wire"
)

// writes notes each write.
type writes struct {
	net.Conn
	parts []string
}

func (w *writes) Write(part []byte) (int, error) {
	w.parts = append(w.parts, string(part))
	return len(part), nil
}

func (w *writes) SetWriteDeadline(time.Time) error { return nil }

func TestABurstLeavesInOnePiece(t *testing.T) {
	below := &writes{}
	conn := wire.NewBurstConn(below)
	write := func(text string) {
		t.Helper()
		if n, err := conn.Write([]byte(text)); n != len(text) || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
	}
	write("alone")
	conn.Hold(time.Now().Add(time.Minute))
	write("one ")
	write("two ")
	if len(below.parts) != 1 || below.parts[0] != "alone" {
		t.Fatalf("sent %q", below.parts)
	}
	write("three")
	if err := conn.Release(); err != nil {
		t.Fatal(err)
	}
	write("after")
	if err := conn.Release(); err != nil { // nothing is held
		t.Fatal(err)
	}
	if len(below.parts) != 3 || below.parts[1] != "one two three" || below.parts[2] != "after" {
		t.Fatalf("sent %q", below.parts)
	}
}

// D5.
func TestABurstIsBounded(t *testing.T) {
	below := &writes{}
	conn := wire.NewBurstConn(below)
	conn.Hold(time.Now().Add(time.Minute))
	for range 100 {
		if _, err := conn.Write(make([]byte, 4<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if len(below.parts) < 5 || len(below.parts[0]) > 72<<10 {
		t.Fatalf("400 KiB were sent in %d pieces before the release", len(below.parts))
	}
}
