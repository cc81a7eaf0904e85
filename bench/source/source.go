// Package source is a session made for measuring: a server on two unix sockets.
// One answers every byte with the same byte, the other sends as many bytes as
// it is asked for, as fast as they are taken. Each connection begins with a
// greeting from the server, as that of a screen does.
package source

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"

	"github.com/streamspace/streamspace/bench/serving"
)

const (
	// Echo and Flood name the two sockets.
	Echo  = "echo"
	Flood = "flood"

	// chunk is what is sent or read at once, in bytes; larger ones gain nothing.
	chunk = 64 << 10
	// greeting is what the server sends first.
	greeting = 'S'
	// requestSize is the size of a request: the number of wanted bytes,
	// big-endian.
	requestSize = 8
)

// Socket is the path of the named socket in dir.
func Socket(dir, name string) string { return filepath.Join(dir, name+".sock") }

// Serve serves both sockets in dir until ctx ends, and calls ready once they
// accept. It returns when every connection is over.
func Serve(ctx context.Context, dir string, ready func()) error {
	echoes, err := net.Listen("unix", Socket(dir, Echo))
	if err != nil {
		return fmt.Errorf("serve echoes: %w", err)
	}
	defer func() { _ = echoes.Close() }()
	floods, err := net.Listen("unix", Socket(dir, Flood))
	if err != nil {
		return fmt.Errorf("serve floods: %w", err)
	}
	ready()
	var echoErr, floodErr error
	var serve sync.WaitGroup
	serve.Go(func() { echoErr = serving.Serve(ctx, echoes, greeted(echo)) })
	serve.Go(func() { floodErr = serving.Serve(ctx, floods, greeted(flood)) })
	serve.Wait()
	return errors.Join(echoErr, floodErr)
}

// greeted serves connections until the client leaves, however it does.
func greeted(serve func(net.Conn)) func(context.Context, net.Conn) {
	return func(_ context.Context, conn net.Conn) {
		if _, err := conn.Write([]byte{greeting}); err == nil {
			serve(conn)
		}
	}
}

func echo(conn net.Conn) {
	piece := make([]byte, chunk)
	for {
		n, err := conn.Read(piece)
		if err != nil {
			return
		}
		if _, err := conn.Write(piece[:n]); err != nil {
			return
		}
	}
}

func flood(conn net.Conn) {
	piece := make([]byte, chunk)
	var request [requestSize]byte
	for {
		if _, err := io.ReadFull(conn, request[:]); err != nil {
			return
		}
		for left := binary.BigEndian.Uint64(request[:]); left > 0; {
			n, err := conn.Write(piece[:min(left, chunk)])
			if err != nil {
				return
			}
			left -= uint64(n)
		}
	}
}
