package supervisor

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// newPair gives a starter and the other end of its socket.
func newPair(t *testing.T) (ours *starter, theirs int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if ours, err = newStarter(pair[0]); err != nil {
		t.Fatal(err)
	}
	return ours, pair[1]
}

// Of a supervisor that waits long for its session the collector runs.
func TestTheCollectorDoesNotHangUp(t *testing.T) {
	ours, theirs := newPair(t)
	for range 3 { // a file is closed by one run and seen to be gone by the next
		runtime.GC()
	}
	if ours.hungUp() {
		t.Error("an open socket is taken for closed after a collection")
	}
	if _, err := unix.Write(theirs, []byte("x")); err != nil {
		t.Errorf("it is closed: %v", err)
	}
	if err := unix.Close(theirs); err != nil || !ours.hungUp() {
		t.Errorf("a closed one is taken for open: %v", err)
	}
}

// The runtime sends signals to its own threads, and one may be pending at any
// moment.
func TestSignalsDoNotHangUp(t *testing.T) {
	ours, theirs := newPair(t)
	defer func() { _ = unix.Close(theirs) }()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread, stop, stopped := unix.Gettid(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Tgkill(os.Getpid(), thread, unix.SIGURG)
			}
		}
	}()
	hung := 0
	for range 1_000_000 {
		if ours.hungUp() {
			hung++
		}
	}
	close(stop)
	<-stopped
	if hung > 0 {
		t.Errorf("an open socket is taken for closed %d times", hung)
	}
}
