package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamspace/streamspace/bench/source"
	"github.com/streamspace/streamspace/bench/statistics"
)

const (
	// floods is how many streams saturate the link.
	floods = 4
	// keyEvery is the rhythm of the interactive stream's messages: faster than
	// hands are, and far from filling the link.
	keyEvery = 5 * time.Millisecond
	// answerWithin bounds the wait for one answer.
	answerWithin = 30 * time.Second
	// floodBytes is more than any link here carries in a run.
	floodBytes = 1 << 40
)

// crowd is streams that are read as fast as they come.
type crowd struct {
	cancel  context.CancelFunc
	conns   []net.Conn
	reading sync.WaitGroup
	bytes   atomic.Int64
}

// flood opens the floods and begins to read them.
func (w way) flood(ctx context.Context) (_ *crowd, err error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &crowd{cancel: cancel}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	for range floods {
		conn, err := w.open(ctx)
		if err != nil {
			return nil, err
		}
		c.conns = append(c.conns, conn)
		if err := source.Ask(conn, floodBytes); err != nil {
			return nil, err
		}
		c.reading.Go(func() {
			_, _ = io.Copy(counter{&c.bytes}, conn) // until close
		})
	}
	return c, nil
}

// close cuts the streams off: an orderly end would come behind all that is
// under way.
func (c *crowd) close() {
	c.cancel()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.reading.Wait()
}

// counter counts what is written to it.
type counter struct{ bytes *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.bytes.Add(int64(len(p)))
	return len(p), nil
}

// measureInteractive opens a stream to the echo, sends a small message every
// keyEvery and gives the time of each, in milliseconds, from when it was due
// until its answer. A message that had to wait to be sent counts from when it
// was due, too.
func (w way) measureInteractive(ctx context.Context, messages int) (_ []float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := w.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	begun := time.Now()
	due := func(i int) time.Duration { return time.Duration(i) * keyEvery }
	var sendErr error
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := range messages {
			timer := time.NewTimer(due(i) - time.Since(begun))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
			if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, uint64(i))); err != nil {
				sendErr = fmt.Errorf("send a message: %w", err)
				cancel()
				return
			}
		}
	})
	defer func() {
		cancel()
		sending.Wait()
		err = errors.Join(sendErr, err)
	}()
	times := make([]float64, messages)
	var answer [messageSize]byte
	for i := range times {
		if err := conn.SetReadDeadline(time.Now().Add(answerWithin)); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(conn, answer[:]); err != nil {
			return nil, fmt.Errorf("wait for an answer: %w", err)
		}
		if got := binary.BigEndian.Uint64(answer[:]); got != uint64(i) {
			return nil, fmt.Errorf("message %d was answered as %d", i, got)
		}
		times[i] = statistics.Milliseconds(time.Since(begun) - due(i))
	}
	return times, nil
}
