// Package health finds out, for every driver alike, whether a session that shows
// pages is ready.
package health

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/streamspace/streamspace/models"
)

// answerWithin bounds one question. A program that has just begun to listen may
// take a while for its first answer.
const answerWithin = 5 * time.Second

// Ask asks the session for its health path, over the connection that dial gives,
// and gives nil when the answer's status is below 500. What the answer holds does
// not matter: a session that wants a password is ready.
func Ask(ctx context.Context, pages models.HTTP, dial func(context.Context) (net.Conn, error)) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	connect := func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }
	transport := &http.Transport{DialContext: connect, DisableKeepAlives: true,
		// The certificate is the session's own making, as is the session.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	scheme := "http"
	if pages.TLS {
		scheme = "https"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://localhost"+pages.Health(), nil)
	if err != nil {
		return fmt.Errorf("ask for the health of a session: %w", err)
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.CopyN(io.Discard, answer.Body, 64<<10) // a program may mind if nobody listens
	if answer.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("it answers %s with %s", pages.Health(), answer.Status)
	}
	return nil
}
