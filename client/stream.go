package client

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/coder/websocket"
)

// Stream opens the session's stream: RFB for vnc, the terminal protocol for
// terminal. The caller closes it. Its reads and writes end with ctx, and a
// deadline that passes ends it. It is not repeated: a ticket opens one stream.
func (c *Client) Stream(ctx context.Context, sessionID string) (net.Conn, error) {
	ticket, err := c.Ticket(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	return c.StreamWith(ctx, sessionID, ticket.Ticket)
}

// StreamWith opens the session's stream with a ticket that the caller has.
func (c *Client) StreamWith(ctx context.Context, sessionID, ticket string) (net.Conn, error) {
	request, err := c.request(ctx, call{method: http.MethodGet, segments: []string{"sessions", sessionID, "stream"},
		query: url.Values{"ticket": {ticket}}}, "*/*")
	if err != nil {
		return nil, err
	}
	// The ticket is the only credential that a stream takes.
	request.Header.Del("Authorization")
	// The library follows redirects without end. A stream has none.
	dialer := *c.options.HTTP
	dialer.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	socket, response, err := websocket.Dial(ctx, request.URL.String(), &websocket.DialOptions{
		HTTPClient: &dialer, HTTPHeader: request.Header, Subprotocols: []string{"binary"},
	})
	if err != nil {
		if response != nil && response.StatusCode != http.StatusSwitchingProtocols {
			return nil, readProblem(response)
		}
		// The library's message has the address, and with it the ticket.
		return nil, &transportError{server: c.base.Host, err: fmt.Errorf("open the stream: %w", bare(err))}
	}
	return websocket.NetConn(ctx, socket, websocket.MessageBinary), nil
}
