package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// asker makes requests that only ask: GET and HEAD without a body, which most
// are. The goroutine that serves a request writes and reads by itself, where
// http.Transport hands everything over to two others, which costs small answers a
// good part of their time. The rest is left to that. Safe for concurrent use.
type asker struct {
	dial  func(context.Context) (net.Conn, error)
	other *http.Transport
	idle  time.Duration

	mu     sync.Mutex
	closed bool
	// kept are connections that nobody uses, the last one used at the end.
	kept []*line
}

// line is one connection, with one exchange at a time.
type line struct {
	net.Conn
	in  *bufio.Reader
	out *bufio.Writer
	// left is how much more may be read of an answer's header.
	left int64
	// heard tells that something of the answer has come.
	heard  bool
	expire *time.Timer
}

// Read implements io.Reader for in.
func (l *line) Read(into []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("the answer's header has more than %d bytes", maxHeader)
	}
	n, err := l.Conn.Read(into)
	l.left -= int64(n)
	l.heard = l.heard || n > 0
	return n, err
}

// RoundTrip implements http.RoundTripper.
func (a *asker) RoundTrip(r *http.Request) (*http.Response, error) {
	asks := r.Method == http.MethodGet || r.Method == http.MethodHead
	if !asks || r.Body != nil || r.Header.Get("Upgrade") != "" {
		return a.other.RoundTrip(r)
	}
	for {
		one, used, err := a.take(r.Context())
		if err != nil {
			return nil, err
		}
		answer, err := a.exchange(one, r)
		if err == nil {
			return answer, nil
		}
		_ = one.Close()
		if r.Context().Err() != nil {
			return nil, r.Context().Err()
		}
		// The session may close what it has not used for a while at any time; then
		// it has not seen the request, and asking again does no harm.
		if !used || one.heard {
			return nil, err
		}
	}
}

func (a *asker) exchange(one *line, r *http.Request) (*http.Response, error) {
	stop := context.AfterFunc(r.Context(), func() { _ = one.Close() })
	one.left, one.heard = maxHeader, false
	answer, err := one.ask(r)
	if err != nil {
		stop()
		return nil, err
	}
	one.left = math.MaxInt64
	over := func(whole bool) {
		if stop() && whole && !answer.Close {
			a.keep(one)
			return
		}
		_ = one.Close()
	}
	if answer.Body == http.NoBody {
		over(true)
	} else {
		answer.Body = &heardBody{Reader: answer.Body, over: over}
	}
	return answer, nil
}

// ask sends a request and reads the header of its answer.
func (l *line) ask(r *http.Request) (*http.Response, error) {
	if err := errors.Join(r.Write(l.out), l.out.Flush()); err != nil {
		return nil, err
	}
	for {
		answer, err := http.ReadResponse(l.in, r)
		switch {
		case err != nil:
			return nil, err
		case answer.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("the session changes to a protocol that nobody has asked for")
		case answer.StatusCode >= http.StatusOK:
			return answer, nil
		}
	}
}

// heardBody tells once when it is over, and whether all of it was read.
type heardBody struct {
	io.Reader
	once sync.Once
	over func(whole bool)
}

// Read implements io.Reader.
func (b *heardBody) Read(into []byte) (int, error) {
	n, err := b.Reader.Read(into)
	if err != nil {
		b.once.Do(func() { b.over(errors.Is(err, io.EOF)) })
	}
	return n, err
}

// Close implements io.Closer.
func (b *heardBody) Close() error {
	b.once.Do(func() { b.over(false) })
	return nil
}

// take gives a connection, and whether it was used before.
func (a *asker) take(ctx context.Context) (*line, bool, error) {
	a.mu.Lock()
	for last := len(a.kept) - 1; last >= 0; last-- {
		one := a.kept[last]
		a.kept = a.kept[:last]
		// Once it has expired it is being dropped. What comes unasked is no answer to
		// what is asked next.
		if one.expire.Stop() && one.in.Buffered() == 0 {
			a.mu.Unlock()
			return one, true, nil
		}
		_ = one.Close()
	}
	a.mu.Unlock()
	conn, err := a.dial(ctx)
	if err != nil {
		return nil, false, err
	}
	one := &line{Conn: conn}
	one.in, one.out = bufio.NewReaderSize(one, buffer), bufio.NewWriter(conn)
	return one, false, nil
}

// keep keeps a connection for a later request, for as long as may be.
func (a *asker) keep(one *line) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || len(a.kept) >= idleConns {
		_ = one.Close()
		return
	}
	if one.expire == nil {
		one.expire = time.AfterFunc(a.idle, func() { a.drop(one) })
	} else {
		one.expire.Reset(a.idle)
	}
	a.kept = append(a.kept, one)
}

// drop closes a connection that nobody has used for long enough.
func (a *asker) drop(one *line) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept = slices.DeleteFunc(a.kept, func(other *line) bool { return other == one })
	_ = one.Close()
}

// CloseIdleConnections closes what nobody uses, and what is used once that is
// over.
func (a *asker) CloseIdleConnections() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for _, one := range a.kept {
		one.expire.Stop()
		_ = one.Close()
	}
	a.kept = nil
	a.other.CloseIdleConnections()
}
