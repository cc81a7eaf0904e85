package tunnel

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// Whatever direct does, what it gives is a connection like any other. In builds
// with the race detector it is the very connection, so run this without, too.
func TestDirectIsAConnection(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			for name, check := range map[string]func(*testing.T, net.Conn, net.Conn){
				"all of a large write arrives":  largeWrite,
				"half an end":                   halfEnd,
				"a deadline":                    deadline,
				"a close ends what waits":       closeWhileWaiting,
				"a peer that is gone":           peerGone,
				"nothing to read or write":      nothing,
				"twice direct is once direct":   twice,
				"many at once keep their turns": manyAtOnce,
			} {
				t.Run(name, func(t *testing.T) {
					ours, theirs := connected(t, network)
					check(t, direct(ours), theirs)
				})
			}
		})
	}
}

func connected(t *testing.T, network string) (ours, theirs net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = t.TempDir() + "/socket"
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	if ours, err = net.Dial(network, listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if theirs, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	for _, conn := range []net.Conn{ours, theirs} {
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return ours, theirs
}

// More than any socket takes at once.
func largeWrite(t *testing.T, ours, theirs net.Conn) {
	sent := make([]byte, 32<<20)
	for i := range sent {
		sent[i] = byte(i * 7 >> 3)
	}
	var writing sync.WaitGroup
	writing.Go(func() {
		if n, err := ours.Write(sent); n != len(sent) || err != nil {
			t.Errorf("wrote %d bytes: %v", n, err)
		}
		_ = ours.Close()
	})
	got, err := io.ReadAll(theirs)
	writing.Wait()
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came, or others than were sent: %v", len(got), err)
	}
}

func halfEnd(t *testing.T, ours, theirs net.Conn) {
	if _, err := ours.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	if err := closeWrite(ours); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(theirs); err != nil || string(got) != "last" {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := theirs.Write([]byte("and back")); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	if got, err := io.ReadAll(ours); err != nil || string(got) != "and back" {
		t.Errorf("read %q, %v", got, err)
	}
}

func deadline(t *testing.T, ours, theirs net.Conn) {
	if err := ours.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading gives %v", err)
	}
	if err := ours.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := ours.Read(make([]byte, 10)); n != 1 || err != nil {
		t.Errorf("then %d bytes, %v", n, err)
	}
}

func closeWhileWaiting(t *testing.T, ours, theirs net.Conn) {
	ended := make(chan error, 1)
	go func() {
		_, err := ours.Read(make([]byte, 10))
		if err == nil {
			_, err = ours.Read(make([]byte, 10))
		}
		ended <- err
	}()
	if _, err := theirs.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = ours.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("reading gives %v", err)
	}
	if _, err := ours.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing gives %v", err)
	}
}

func peerGone(t *testing.T, ours, theirs net.Conn) {
	_ = theirs.Close()
	if n, err := ours.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	var err error
	for err == nil { // TCP learns of it by the answer to the first
		_, err = ours.Write(make([]byte, chunk))
	}
	var call *os.SyscallError
	if !errors.As(err, &call) {
		t.Errorf("writing gives %v", err)
	}
}

func nothing(t *testing.T, ours, _ net.Conn) {
	if n, err := ours.Read(nil); n != 0 || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if n, err := ours.Write(nil); n != 0 || err != nil {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
}

func twice(t *testing.T, ours, _ net.Conn) {
	if direct(ours) != ours {
		t.Error("it was made direct again")
	}
}

func manyAtOnce(t *testing.T, ours, theirs net.Conn) {
	const writers, size = 8, 200_000
	var writing sync.WaitGroup
	for i := range writers {
		writing.Go(func() {
			if _, err := ours.Write(bytes.Repeat([]byte{byte(i)}, size)); err != nil {
				t.Error(err)
			}
		})
	}
	go func() { writing.Wait(); _ = ours.Close() }()
	got, err := io.ReadAll(theirs)
	if err != nil || len(got) != writers*size {
		t.Fatalf("%d bytes came: %v", len(got), err)
	}
	for start := 0; start < len(got); start += size {
		if piece := got[start : start+size]; bytes.Count(piece, piece[:1]) != size {
			t.Fatal("two writes are mixed")
		}
	}
}
