package tunnel_test

import (
	"net"
	"os"
	"syscall"
	"testing"
)

// socketPair gives the two ends of a unix stream socket, which is what sessions
// serve on.
func socketPair(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	descriptors, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return net.Pipe()
	}
	return connOf(t, descriptors[0]), connOf(t, descriptors[1])
}

func connOf(t *testing.T, descriptor int) net.Conn {
	t.Helper()
	file := os.NewFile(uintptr(descriptor), "session")
	defer func() { _ = file.Close() }()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Error(err)
	}
	return conn
}
