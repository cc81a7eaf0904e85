package tunnel

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// handshakeWithin bounds the write of the answer that begins a tunnel.
const handshakeWithin = 5 * time.Second

// upgraded is the answer after which both directions are the session's bytes.
const upgraded = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + wire.TunnelUpgrade + "\r\n\r\n"

// ServeAgent takes the connection of an agent that the caller has
// authenticated as the stream that Open waits for. It returns once the
// connection is handed over. A tunnel that nobody waits for gets 404.
func (b *Broker) ServeAgent(w http.ResponseWriter, r *http.Request, agentID string) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), wire.TunnelUpgrade) {
		refuse(w, http.StatusBadRequest, models.CodeInvalidRequest,
			"a tunnel is an upgraded connection; send Upgrade: "+wire.TunnelUpgrade)
		return
	}
	wanted := b.claim(agentID, r.URL.Query().Get(wire.ParamTunnelID))
	if wanted == nil {
		refuse(w, http.StatusNotFound, models.CodeNotFound, "nobody waits for this tunnel any more")
		return
	}
	conn, err := hijack(w)
	if err != nil {
		b.options.Logger.Warn("agent's tunnel failed", "agent", agentID, "session", wanted.target.SessionID, "error", err)
		b.forget(wanted)
		wanted.result <- result{err: &models.Error{Code: models.CodeTunnelFailed, Retryable: true, Err: err,
			Message: "the stream of the session's agent broke at once; try again"}}
		return
	}
	b.deliver(wanted, conn)
}

// hijack answers the upgrade and takes the connection over.
func hijack(w http.ResponseWriter) (net.Conn, error) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		refuse(w, http.StatusInternalServerError, models.CodeInternal, "this connection cannot be upgraded")
		return nil, err
	}
	err = conn.SetDeadline(time.Now().Add(handshakeWithin))
	if err == nil {
		_, err = conn.Write([]byte(upgraded))
	}
	if err = errors.Join(err, conn.SetDeadline(time.Time{})); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return unread(direct(conn), buffered.Reader), nil
}

// unread gives conn together with what was read of it already.
func unread(conn net.Conn, buffered *bufio.Reader) net.Conn {
	if buffered.Buffered() == 0 {
		return conn
	}
	early, _ := buffered.Peek(buffered.Buffered()) // cannot fail: it is there
	return &prefixed{Conn: conn, early: append([]byte(nil), early...)}
}

// prefixed reads early before the connection. One reader at a time, as with
// any stream.
type prefixed struct {
	net.Conn
	early []byte
}

// Read implements net.Conn.
func (p *prefixed) Read(into []byte) (int, error) {
	if len(p.early) > 0 {
		n := copy(into, p.early)
		p.early = p.early[n:]
		return n, nil
	}
	return p.Conn.Read(into)
}

// problem is the RFC 9457 body of a refused tunnel.
type problem struct {
	Type      string           `json:"type"`
	Title     string           `json:"title"`
	Status    int              `json:"status"`
	Detail    string           `json:"detail"`
	Code      models.ErrorCode `json:"code"`
	Retryable bool             `json:"retryable"`
}

func refuse(w http.ResponseWriter, status int, code models.ErrorCode, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	// The agent may be gone, and that is all that can go wrong.
	_ = json.NewEncoder(w).Encode(problem{
		Type: "urn:streamspace:error:" + string(code), Title: http.StatusText(status), Status: status, Detail: detail, Code: code,
		Retryable: status == http.StatusServiceUnavailable,
	})
}
