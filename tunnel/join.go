package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// lingerFor is how long the other direction may go on once one has ended. What
// was on its way arrives, and a peer that does not hang up is not waited for.
const lingerFor = 2 * time.Second

// Join copies between a and b, both ways, until both directions have ended or
// ctx has; then it closes both. When one direction ends, its reader is told,
// and the other one gets two more seconds. An end by either side is
// no error; ctx's end and broken connections are.
func Join(ctx context.Context, a, b net.Conn) error {
	a, b = direct(a), direct(b)
	closeBoth := func() { _, _ = a.Close(), b.Close() }
	defer closeBoth()
	defer context.AfterFunc(ctx, closeBoth)()
	var linger *time.Timer
	var once sync.Once
	ended := func(to net.Conn) {
		_ = closeWrite(to) // what is closed already has been told
		once.Do(func() { linger = time.AfterFunc(lingerFor, closeBoth) })
	}
	var there, back error
	var directions sync.WaitGroup
	directions.Go(func() {
		there = pass(b, a)
		ended(b)
	})
	directions.Go(func() {
		back = pass(a, b)
		ended(a)
	})
	directions.Wait()
	linger.Stop()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(brokenOnly(there), brokenOnly(back))
}

// pass copies until from has ended.
func pass(to, from net.Conn) error {
	_, err := io.CopyBuffer(onlyWriter{to}, onlyReader{from}, make([]byte, chunk))
	return err
}

// brokenOnly leaves out what our own closing causes.
func brokenOnly(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// closeWrite ends one direction where the connection can, and both elsewhere.
func closeWrite(conn net.Conn) error {
	if half, can := conn.(interface{ CloseWrite() error }); can {
		return half.CloseWrite()
	}
	return conn.Close()
}
