package websocket

import (
	"bufio"
	"net"
	"net/http"

	"github.com/streamspace/streamspace/wire"
)

// burstWriter takes the connection over for an upgrade as one that can hold
// frames back for a moment.
type burstWriter struct {
	http.ResponseWriter
	conn *wire.BurstConn
}

// Hijack implements http.Hijacker.
func (w *burstWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.conn = wire.NewBurstConn(conn)
	return w.conn, buffered, nil
}
