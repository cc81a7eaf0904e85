package tunnel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"

	ws "github.com/coder/websocket"
)

// chunk is the largest piece that is passed on at once, in bytes: 64 KiB is
// where larger ones stop paying.
const chunk = 64 << 10

// subprotocol is what noVNC and websockify call a WebSocket of raw bytes.
const subprotocol = "binary"

// ViewerOptions configure ServeViewer.
type ViewerOptions struct {
	// Logger discards by default.
	Logger *slog.Logger
	// OriginPatterns are hosts that pages may be from, beside the request's own.
	OriginPatterns []string
}

// ServeViewer upgrades the request to a WebSocket of binary messages, whose
// boundaries mean nothing, and carries bytes between it and the stream until
// either ends. It closes the stream, waits for both directions, and gives the
// cause; a regular end by either side is nil. A viewer that does not read
// fills its own connection's buffers and holds up its own stream alone.
func ServeViewer(w http.ResponseWriter, r *http.Request, stream net.Conn, options ViewerOptions) error {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	defer func() { _ = stream.Close() }()
	socket, err := ws.Accept(directly{w}, r, &ws.AcceptOptions{
		Subprotocols: []string{subprotocol}, OriginPatterns: options.OriginPatterns,
		// Pictures are compressed already, and the processor is what is scarce.
		CompressionMode: ws.CompressionDisabled,
	})
	if err != nil {
		return fmt.Errorf("upgrade the viewer: %w", err)
	}
	// The connection outlives the request's context, which says nothing about
	// either end.
	ctx := context.WithoutCancel(r.Context())
	// Messages are passed on in pieces, so their size costs no memory.
	socket.SetReadLimit(-1)
	var back error
	var viewing sync.WaitGroup
	viewing.Go(func() {
		back = toSession(ctx, stream, socket)
		_ = stream.Close() // ends the other direction too
	})
	there := toViewer(ctx, socket, stream)
	if there == nil {
		_ = socket.Close(ws.StatusNormalClosure, "the stream has ended")
	}
	_ = socket.CloseNow()
	viewing.Wait()
	return errors.Join(there, back)
}

// directly makes the connection that is hijacked a direct one.
type directly struct{ http.ResponseWriter }

// Hijack implements http.Hijacker.
func (d directly) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(d.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	conn = direct(conn)
	return conn, bufio.NewReadWriter(buffered.Reader, bufio.NewWriter(conn)), nil
}

// toViewer passes the session's bytes on until the session's end of the stream
// is over, which is nil, or the viewer's is.
func toViewer(ctx context.Context, socket *ws.Conn, stream net.Conn) error {
	piece := make([]byte, chunk)
	for {
		n, err := stream.Read(piece)
		if n > 0 {
			if err := socket.Write(ctx, ws.MessageBinary, piece[:n]); err != nil {
				return fmt.Errorf("write to the viewer: %w", err)
			}
		}
		if err != nil {
			return nil // the stream is over, however it ended: the viewer may ask for another
		}
	}
}

// toSession passes the viewer's bytes on until the viewer leaves.
func toSession(ctx context.Context, stream net.Conn, socket *ws.Conn) error {
	piece := make([]byte, chunk/2)
	for {
		kind, message, err := socket.Reader(ctx)
		if err != nil {
			return nil // left, or cut off: either way nobody views
		}
		if kind != ws.MessageBinary {
			_ = socket.Close(ws.StatusUnsupportedData, "a session's stream takes binary messages")
			return errors.New("the viewer sent a text message")
		}
		if _, err := io.CopyBuffer(onlyWriter{stream}, onlyReader{message}, piece); err != nil {
			return nil
		}
	}
}

// onlyWriter and onlyReader make io.CopyBuffer use its buffer.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)
