package pages

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// way is one way to the session's server.
type way struct {
	// address is where it begins, host what requests name, cookie lets them in.
	address, host, cookie string
}

// busy is how many connections keep all programs on the way busy: those of some
// browsers, which use six each for a site.
const busy = 24

// client gives a client that keeps so many connections.
func (w way) client(conns int) *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: conns, MaxConnsPerHost: conns, DisableCompression: true, ReadBufferSize: piece, WriteBufferSize: piece,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, w.address)
		},
	}}
}

// exchange makes one request, and checks that all of the answer comes.
func (w way) exchange(ctx context.Context, client *http.Client, sent, wanted int64) error {
	method, address, body := http.MethodGet, "http://"+w.host+"/?bytes="+strconv.FormatInt(wanted, 10), io.Reader(nil)
	if sent > 0 {
		method, body = http.MethodPost, io.LimitReader(zeros{}, sent)
	}
	request, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return err
	}
	if request.ContentLength = sent; w.cookie != "" {
		request.Header.Set("Cookie", w.cookie)
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if sent > 0 {
		said, err := io.ReadAll(answer.Body)
		if err != nil || string(said) != strconv.FormatInt(sent, 10) {
			return fmt.Errorf("of %d bytes that were sent the session says %q: %s, %w", sent, said, answer.Status, err)
		}
		return nil
	}
	got, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, answer.Body, make([]byte, piece))
	if err != nil || got != wanted || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("of %d bytes %d come: %s, %w", wanted, got, answer.Status, err)
	}
	return nil
}

// zeros are bytes without end.
type zeros struct{}

func (zeros) Read(into []byte) (int, error) { return len(into), nil }

// rate makes so many requests over so many connections, and gives how many
// there were a second.
func (w way) rate(ctx context.Context, conns, requests int, sent, wanted int64) (float64, error) {
	client := w.client(conns)
	defer client.CloseIdleConnections()
	run := func(requests int) error {
		all, ctx := errgroup.WithContext(ctx)
		for i := range conns {
			all.Go(func() error {
				for range requests/conns + min(1, max(0, requests%conns-i)) {
					if err := w.exchange(ctx, client, sent, wanted); err != nil {
						return err
					}
				}
				return nil
			})
		}
		return all.Wait()
	}
	// Connections are made, and their windows grow, before the clock starts.
	if err := run(conns * 2); err != nil {
		return 0, err
	}
	begun := time.Now()
	err := run(requests)
	return float64(requests) / time.Since(begun).Seconds(), err
}
