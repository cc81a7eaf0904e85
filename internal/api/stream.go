package api

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/tunnel"
	"github.com/streamspace/streamspace/websocket"
)

// streamRoutes are the way to a session's bytes: a ticket, and with it the
// stream.
type streamRoutes struct {
	database *db.Database
	auth     *auth.Authenticator
	hub      *websocket.AgentHub
	broker   *tunnel.Broker
	activity *services.ActivityKeeper
	origins  *origins
	public   *url.URL
	pages    *pages
	metrics  *metrics
	logger   *slog.Logger
}

// Ticket opens one stream, once.
type Ticket struct {
	Ticket    string    `json:"ticket"`
	ExpiresAt time.Time `json:"expiresAt"`
	URL       string    `json:"url,omitempty" doc:"of a session with protocol http: where a browser opens it with this ticket"`
}

// TicketBody says what the viewer does.
type TicketBody struct {
	ReportsInput bool `json:"reportsInput,omitempty" doc:"the viewer reports when somebody uses the session (POST /sessions/{id}/activity); otherwise it is in use for as long as the stream is open"`
}

type ticketInput struct {
	SessionParam
	// Body may be left out, and is nil then.
	Body *TicketBody
}

func (s *streamRoutes) register(r *router) {
	ticket := operation(accessUser, http.MethodPost, base+"/sessions/{id}/tickets", "create-ticket", tagSessions,
		"Make a ticket for the stream of one's own running session; it lives 60 seconds",
		append(bodyErrors(), http.StatusNotFound, http.StatusConflict)...)
	ticket.DefaultStatus = http.StatusCreated
	register(r, ticket, s.ticket)

	stream := operation(accessTicket, http.MethodGet, base+"/sessions/{id}/stream", "stream-session", tagSessions,
		"Open the session's stream, a WebSocket of binary messages whose boundaries mean nothing: "+
			"RFB for protocol vnc, the terminal protocol for terminal (docs/protocol.md)",
		http.StatusBadRequest, http.StatusConflict, http.StatusBadGateway, http.StatusServiceUnavailable)
	stream.Parameters = []*huma.Param{
		{Name: "id", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}},
		queryParam("ticket", "from POST /sessions/{id}/tickets", true),
	}
	stream.Responses = map[string]*huma.Response{"101": answer("The connection is a WebSocket now.", "")}
	r.raw(stream, long(s.stream))
}

func (s *streamRoutes) ticket(ctx context.Context, input *ticketInput) (*output[Ticket], error) {
	session, err := ownRunning(ctx, s.database, input.ID)
	if err != nil {
		return nil, err
	}
	secret, expires, err := s.auth.NewTicket(ctx, session, userOf(ctx), input.Body != nil && input.Body.ReportsInput)
	if err != nil {
		return nil, err
	}
	ticket := Ticket{Ticket: secret, ExpiresAt: expires}
	if paged(session) == nil {
		ticket.URL = s.pages.address(requestOf(ctx).asked, session, secret)
	}
	return &output[Ticket]{Body: ticket}, nil
}

// streamable refuses sessions that have no stream now, or whose stream is not
// the one that a ticket of the given generation was made for.
func streamable(session models.Session, generation int64) error {
	if session.State == models.SessionRunning && session.Generation == generation {
		return nil
	}
	refusal := models.Errorf(models.CodeSessionNotRunning, "session %s is %s", session.ID, session.State)
	if session.State == models.SessionRunning {
		refusal.Message = "session " + session.ID + " has been restarted since; get a new ticket"
	} else if session.Reason != "" {
		refusal.Message += ": " + session.Reason
	}
	refusal.Retryable = !session.State.Terminal() && session.DesiredState == models.DesiredRunning
	return refusal
}

func (s *streamRoutes) stream(w http.ResponseWriter, r *http.Request) {
	target, conn, gone, err := s.open(r)
	if err != nil {
		writeProblem(w, problemOf(r.Context(), s.logger, err))
		return
	}
	defer gone()
	defer func() { _ = conn.Close() }()
	s.metrics.tunnels.Inc()
	defer s.metrics.tunnels.Dec()
	options := tunnel.ViewerOptions{Logger: s.logger}
	if s.public != nil {
		options.OriginPatterns = []string{s.public.Host}
	}
	if err := tunnel.ServeViewer(w, r, conn, options); err != nil {
		s.logger.DebugContext(r.Context(), "stream ended",
			"request", requestOf(r.Context()).id, "session", target.SessionID, "cause", err)
	}
}

// open checks everything that can be checked before the ticket is used up. Then
// it redeems the ticket, which waits for the disk, while the agent brings the
// session's stream; only both together are a stream. The caller calls gone when
// the viewer has left.
func (s *streamRoutes) open(r *http.Request) (target tunnel.Target, conn net.Conn, gone func(), err error) {
	ctx := r.Context()
	if err := s.origins.checkUpgrade(r); err != nil {
		return target, nil, nil, err
	}
	secret := r.URL.Query().Get("ticket")
	ticket, err := s.auth.Ticket(ctx, secret)
	if err != nil {
		return target, nil, nil, err
	}
	if ticket.SessionID != r.PathValue("id") {
		return target, nil, nil, models.Errorf(models.CodeTicketInvalid, "this ticket is for another session")
	}
	session, err := s.current(ctx, ticket)
	if err == nil && paged(session) == nil {
		err = models.Errorf(models.CodeInvalidRequest, "session %s shows pages and has no stream; the ticket's url leads there", session.ID)
	}
	if err != nil {
		return target, nil, nil, err
	}
	epoch, connected := s.hub.Epoch(session.AgentID)
	if !connected {
		return target, nil, nil, &models.Error{Code: models.CodeAgentUnavailable, Retryable: true,
			Message: "the session's agent is not connected now; the session keeps running, try again shortly"}
	}
	target = tunnel.Target{AgentID: session.AgentID, Epoch: epoch, SessionID: session.ID, Generation: session.Generation}
	conn, err = s.redeemAndOpen(ctx, secret, target)
	if err != nil {
		return target, nil, nil, err
	}
	// A stop that came while the tunnel was being opened found nothing to close.
	if session, err = s.current(ctx, ticket); err == nil {
		gone, err = s.viewed(session, ticket)
	}
	if err != nil {
		_ = conn.Close()
		return target, nil, nil, err
	}
	return target, conn, gone, nil
}

// viewed notes that a viewer has come, if that matters to anything; gone is when
// it has left.
func (s *streamRoutes) viewed(session models.Session, ticket models.Ticket) (gone func(), err error) {
	if session.IdleTimeout == "" {
		return func() {}, nil
	}
	return s.activity.Viewed(session.ID, ticket.ReportsInput)
}

// redeemAndOpen does both at once. A tunnel whose ticket somebody else redeemed
// first is closed before a byte of it has gone anywhere.
func (s *streamRoutes) redeemAndOpen(ctx context.Context, secret string, target tunnel.Target) (net.Conn, error) {
	var conn net.Conn
	var openErr error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var opening sync.WaitGroup
	opening.Go(func() { conn, openErr = s.broker.Open(ctx, target) })
	_, err := s.auth.RedeemTicket(ctx, secret)
	if err != nil {
		cancel()
	}
	opening.Wait()
	if err == nil {
		return conn, openErr
	}
	if conn != nil {
		_ = conn.Close()
	}
	return nil, err
}

// current is the ticket's session, if it is still the one of the ticket.
func (s *streamRoutes) current(ctx context.Context, ticket models.Ticket) (models.Session, error) {
	session, err := s.database.Session(ctx, ticket.SessionID)
	if err != nil {
		return models.Session{}, err
	}
	return session, streamable(session, ticket.Generation)
}
