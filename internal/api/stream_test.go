package api_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	ws "github.com/coder/websocket"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/internal/api"
	"github.com/streamspace/streamspace/models"
)

// ticket makes a ticket for ann's session.
func (w *world) ticket(id string) string {
	w.t.Helper()
	return w.post(pathSessions+"/"+id+"/tickets", w.as("ann")).want(http.StatusCreated).ticket()
}

func streamPath(id, ticket string) string {
	return pathSessions + "/" + id + "/stream?ticket=" + ticket
}

// view opens ann's session's stream, which ends with the test.
func (w *world) view(id string) net.Conn {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := w.client("ann").StreamWith(ctx, id, w.ticket(id))
	must(w.t, err)
	w.t.Cleanup(func() {
		cancel()
		_ = stream.Close()
	})
	must(w.t, stream.SetDeadline(time.Now().Add(patience)))
	return stream
}

// echoed sends bytes through a stream whose agent sends them back.
func (w *world) echoed(stream net.Conn, text string) {
	w.t.Helper()
	_, err := io.WriteString(stream, text)
	must(w.t, err)
	got := make([]byte, len(text))
	_, err = io.ReadFull(stream, got)
	must(w.t, err)
	if !bytes.Equal(got, []byte(text)) {
		w.t.Errorf("%q came back as %q", text, got)
	}
}

// ended waits for the end of a stream.
func (w *world) ended(stream net.Conn) {
	w.t.Helper()
	if n, err := stream.Read(make([]byte, 1)); err == nil {
		w.t.Errorf("%d more bytes came", n)
	}
}

func TestStream(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	w.run("ann", "desk-1")
	w.run("ann", "desk-2")
	first, second := w.view("desk-1"), w.view("desk-2")
	w.echoed(first, "hello")
	w.echoed(second, "good bye")
	if metric := w.metric("streamspace_tunnels_open"); metric != 2 {
		t.Errorf("%v tunnels are open", metric)
	}
	must(t, first.Close())
	w.eventually("its tunnel is gone", func() error {
		if w.metric("streamspace_tunnels_open") != 1 || w.broker.Tunnels() != 1 {
			return errNotYet
		}
		return nil
	})
	w.echoed(second, "still here")
	w.broker.CloseSession("desk-2", 2)
	w.ended(second)
}

func TestTickets(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	w.run("ann", "desk-1")
	var ticket api.Ticket
	w.post(pathSessions+"/desk-1/tickets", w.as("ann")).want(http.StatusCreated).into(&ticket)
	w.secret(ticket.Ticket)
	if life := time.Until(ticket.ExpiresAt); life > 60*time.Second || life < 50*time.Second {
		t.Errorf("the ticket lives %v", life)
	}
	// Not even an admin looks into somebody's session.
	w.post(pathSessions+"/desk-1/tickets", w.as("root")).problem(http.StatusForbidden, models.CodeForbidden, "ann", "only its owner")

	w.launch("ann", "slow-1")
	if !w.post(pathSessions+"/slow-1/tickets", w.as("ann")).problem(http.StatusConflict, models.CodeSessionNotRunning, "pending").Retryable {
		t.Error("waiting for a session that starts is said to be in vain")
	}
	w.launch("ann", "broken-1")
	w.await("broken-1", models.SessionFailed)
	if w.post(pathSessions+"/broken-1/tickets", w.as("ann")).problem(http.StatusConflict, models.CodeSessionNotRunning, "failed", "the disk is full").Retryable {
		t.Error("a failed session is said to be worth waiting for")
	}
}

func TestTicketsOpenOneStreamOnce(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	w.run("ann", "desk-1")
	w.run("ann", "desk-2")

	used := w.ticket("desk-1")
	stream, err := w.client("ann").StreamWith(t.Context(), "desk-1", used)
	must(t, err)
	w.echoed(stream, "hello")
	must(t, stream.Close())
	w.get(streamPath("desk-1", used), upgrade()).problem(http.StatusUnauthorized, models.CodeTicketUsed, "ask for a new one")

	late := w.ticket("desk-1")
	w.advance(61 * time.Second)
	w.get(streamPath("desk-1", late), upgrade()).problem(http.StatusUnauthorized, models.CodeTicketExpired, "ask for a new one")

	w.get(streamPath("desk-2", w.ticket("desk-1")), upgrade()).problem(http.StatusUnauthorized, models.CodeTicketInvalid, "another session")
	// A token is no ticket, and the console's cookie is none either.
	w.get(pathSessions+"/desk-1/stream", upgrade(), w.as("ann")).problem(http.StatusUnauthorized, models.CodeTicketInvalid)
	w.get(pathSessions+"/desk-1/stream", upgrade(), with(w.cookie("ann")), ownPage(w)).problem(http.StatusUnauthorized, models.CodeTicketInvalid)
}

func TestAManyfoldTicketOpensOneStream(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	w.run("ann", "desk-1")
	ticket := w.ticket("desk-1")
	results := make(chan error, 8)
	for range cap(results) {
		go func() {
			stream, err := w.client("ann").StreamWith(t.Context(), "desk-1", ticket)
			if err == nil {
				_ = stream.Close()
			}
			results <- err
		}()
	}
	codes := map[models.ErrorCode]int{}
	opened := 0
	for range cap(results) {
		if err := <-results; err == nil {
			opened++
		} else {
			codes[client.CodeOf(err)]++
		}
	}
	if opened != 1 || codes[models.CodeTicketUsed] != cap(results)-1 {
		t.Errorf("%d opened, the others were refused with %v", opened, codes)
	}
}

func TestWhatCannotBeAStreamLeavesItsTicketAlone(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	w.run("ann", "desk-1")
	ticket := w.ticket("desk-1")
	path := streamPath("desk-1", ticket)
	for name, parts := range map[string][]part{
		"no upgrade":        nil,
		"another upgrade":   {upgrade(), header("Upgrade", "h2c")},
		"no connection":     {upgrade(), header("Connection", "keep-alive")},
		"another version":   {upgrade(), header("Sec-WebSocket-Version", "8")},
		"no key":            {upgrade(), header("Sec-WebSocket-Key", "")},
		"a key that is not": {upgrade(), header("Sec-WebSocket-Key", "hello")},
	} {
		t.Log(name)
		w.get(path, parts...).problem(http.StatusBadRequest, models.CodeInvalidRequest, "WebSocket")
	}
	w.exchange(http.MethodHead, path, upgrade()).want(http.StatusBadRequest)
	for _, origin := range []string{"https://evil.example", "http://evil.example", "null", "http://127.0.0.1:1", "file://", "http://" + w.host + ".evil.example"} {
		w.get(path, upgrade(), header("Origin", origin)).problem(http.StatusForbidden, models.CodeOriginForeign, origin)
	}
	w.get(path, upgrade(), host("evil.example"), header("Origin", "http://evil.example")).problem(http.StatusForbidden, models.CodeOriginForeign)

	// After all that it opens, for a page of ours, and for a browser that wants to keep the connection as well.
	socket, response, err := ws.Dial(t.Context(), w.url+path, &ws.DialOptions{HTTPClient: w.http, Subprotocols: []string{"binary"},
		HTTPHeader: http.Header{"Origin": {w.url}}})
	must(t, err)
	if response.Header.Get("Sec-WebSocket-Protocol") != "binary" || response.Header.Get("Sec-WebSocket-Extensions") != "" {
		t.Errorf("the answer is %v", response.Header)
	}
	must(t, socket.CloseNow())
}

func TestOurPublicPagesOpenStreams(t *testing.T) {
	public, err := url.Parse("https://streamspace.example.org")
	must(t, err)
	w := newWorld(t, func(c *api.Config) { c.PublicURL = public })
	w.agent("laptop")
	w.run("ann", "desk-1")
	w.get(streamPath("desk-1", w.ticket("desk-1")), upgrade(), header("Origin", "http://streamspace.example.org")).
		problem(http.StatusForbidden, models.CodeOriginForeign)
	socket, _, err := ws.Dial(t.Context(), w.url+streamPath("desk-1", w.ticket("desk-1")), &ws.DialOptions{HTTPClient: w.http,
		HTTPHeader: http.Header{"Origin": {"https://streamspace.example.org"}}})
	must(t, err)
	must(t, socket.CloseNow())
}

func TestStreamsThatCannotBe(t *testing.T) {
	w := newWorld(t)
	laptop := w.agent("laptop")
	w.run("ann", "desk-1")
	w.run("ann", "desk-2")
	w.run("ann", "mute-1")
	if !w.get(streamPath("mute-1", w.ticket("mute-1")), upgrade()).
		problem(http.StatusBadGateway, models.CodeTunnelFailed, "Xvnc does not answer").Retryable {
		t.Error("a stream that failed is said to be not worth another try")
	}

	stale := w.ticket("desk-1")
	w.delete(pathSessions+"/desk-1", w.as("ann")).want(http.StatusAccepted)
	w.await("desk-1", models.SessionTerminated)
	w.get(streamPath("desk-1", stale), upgrade()).problem(http.StatusConflict, models.CodeSessionNotRunning, "terminated")

	away := w.ticket("desk-2")
	laptop.disconnect()
	if !w.get(streamPath("desk-2", away), upgrade()).
		problem(http.StatusServiceUnavailable, models.CodeAgentUnavailable, "keeps running", "try again").Retryable {
		t.Error("an agent that is away is said to be gone")
	}

	laptop.connect(w.facilities())
	w.run("ann", "desk-3")
	stopping := w.ticket("desk-3")
	w.broker.Stop()
	w.get(streamPath("desk-3", stopping), upgrade()).problem(http.StatusServiceUnavailable, models.CodeUnavailable, "stopping")
}

func TestAStreamEndsWithItsAgentsConnection(t *testing.T) {
	w := newWorld(t)
	laptop := w.agent("laptop")
	w.run("ann", "desk-1")
	stream := w.view("desk-1")
	w.echoed(stream, "hello")
	laptop.disconnect()
	w.ended(stream)
	laptop.connect(w.facilities())
	w.echoed(w.view("desk-1"), "here again")
}

func TestAStreamIsOfTheGenerationThatItsTicketWasFor(t *testing.T) {
	w := newWorld(t)
	laptop := w.agent("laptop")
	w.run("ann", "desk-1")
	old := w.ticket("desk-1")
	change := func(set string) {
		_, err := w.database.DB().ExecContext(context.Background(), `UPDATE sessions SET `+set+` WHERE id = 'desk-1'`)
		must(t, err)
	}
	change(`generation = 3`) // hibernated and woken
	w.get(streamPath("desk-1", old), upgrade()).problem(http.StatusConflict, models.CodeSessionNotRunning, "restarted since", "new ticket")
	w.echoed(w.view("desk-1"), "hello")

	// One that ends while its stream is being brought has none.
	laptop.onStream(func() { change(`state = 'terminated'`) })
	w.get(streamPath("desk-1", w.ticket("desk-1")), upgrade()).problem(http.StatusConflict, models.CodeSessionNotRunning, "terminated")
	w.eventually("the tunnel is closed", func() error {
		if w.broker.Tunnels() > 1 {
			return errNotYet
		}
		return nil
	})
}
