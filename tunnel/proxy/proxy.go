// Package proxy shows the pages of sessions: a reverse proxy whose connections
// are tunnels. Each connection leads to one session in one generation and ends
// with it, or with its agent's connection; none is ever used for another one. It
// knows nothing of who may see which session.
package proxy

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/tunnel"
)

// The defaults of Options.
const (
	// DefaultMaxRequests is more than any browser asks for at once, with WebSockets
	// of several tabs.
	DefaultMaxRequests = 256
	// DefaultIdle is long enough for a person to read a page.
	DefaultIdle = 60 * time.Second
)

const (
	// idleConns are how many connections to a session are kept for later requests:
	// what some browsers use at once, which have six each for a site.
	idleConns = 32
	// buffer is the size of what is passed on at once, in bytes.
	buffer = 64 << 10
	// maxHeader bounds the header of a session's answer.
	maxHeader = 256 << 10
	// passOnWithin bounds how long a piece of an answer whose size is known may wait
	// for the next one. Others, such as events, go on at once.
	passOnWithin = 10 * time.Millisecond
	// continueWithin is how long an upload waits for leave to begin.
	continueWithin = time.Second
)

// Broker opens tunnels; tunnel.Broker is one.
type Broker interface {
	Open(ctx context.Context, target tunnel.Target) (net.Conn, error)
}

// Options configure a Proxy. The zero value of a field means its default.
type Options struct {
	// MaxRequests bounds the requests and WebSockets of one session at one time;
	// DefaultMaxRequests. Further ones are refused with models.CodeUnavailable.
	MaxRequests int
	// Idle is how long a connection is kept that nobody uses; DefaultIdle.
	Idle time.Duration
	// Failed answers a request that the session has not; it must not be nil. An
	// error that a user may read is a *models.Error.
	Failed func(http.ResponseWriter, *http.Request, error)
	// Logger discards by default.
	Logger *slog.Logger
}

// Session is how a session's pages are reached.
type Session struct {
	Target tunnel.Target
	// TLS tells that it speaks HTTPS.
	TLS bool
	// Username and Password are for basic authentication, unless both are empty.
	Username, Password string
}

// Proxy passes requests on to sessions. Safe for concurrent use.
type Proxy struct {
	broker  Broker
	options Options
	buffers *buffers
	log     *log.Logger

	mu    sync.Mutex
	pools map[string]*pool
}

// New makes a proxy over the broker's tunnels.
func New(broker Broker, options Options) *Proxy {
	if options.MaxRequests <= 0 {
		options.MaxRequests = DefaultMaxRequests
	}
	if options.Idle <= 0 {
		options.Idle = DefaultIdle
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	return &Proxy{broker: broker, options: options, buffers: newBuffers(), log: slog.NewLogLogger(options.Logger.Handler(), slog.LevelDebug), pools: map[string]*pool{}}
}

// Serve passes a request on to the session and its answer back, neither of
// which it holds: an upload, a download, an event stream or a WebSocket goes as
// fast as both ends take it, and ends with either. place is where the request's
// sender sees the session.
func (p *Proxy) Serve(w http.ResponseWriter, r *http.Request, session Session, place Place) {
	if place.refuses(w, r) {
		return
	}
	transport, done, err := p.enter(session)
	if err != nil {
		p.options.Failed(w, r, err)
		return
	}
	defer done()
	through := httputil.ReverseProxy{
		Transport: transport, BufferPool: p.buffers,
		FlushInterval:  passOnWithin,
		Rewrite:        func(passed *httputil.ProxyRequest) { place.request(passed.In, passed.Out, session) },
		ModifyResponse: func(answer *http.Response) error { place.answer(answer); return nil },
		ErrorHandler:   func(w http.ResponseWriter, r *http.Request, err error) { p.options.Failed(w, r, told(err)) },
		ErrorLog:       p.log,
	}
	through.ServeHTTP(final{w}, r)
}

// told makes an error one that a user may read.
func told(err error) error {
	var coded *models.Error
	if errors.As(err, &coded) || errors.Is(err, context.Canceled) {
		return err
	}
	return &models.Error{Code: models.CodeTunnelFailed, Retryable: true, Err: err,
		Message: "the session does not answer the browser's request; it may be busy, or its program may just have ended"}
}

// final leaves out what a session says before its answer: such headers are not
// looked through, and browsers do without.
type final struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (f final) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		f.ResponseWriter.WriteHeader(status)
	}
}

// Unwrap lets http.ResponseController reach the rest.
func (f final) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// buffers are used again; see httputil.BufferPool.
type buffers struct{ free sync.Pool }

func newBuffers() *buffers {
	return &buffers{free: sync.Pool{New: func() any { return new([buffer]byte) }}}
}

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte { return b.free.Get().(*[buffer]byte)[:] }

// Put implements httputil.BufferPool.
func (b *buffers) Put(used []byte) { b.free.Put((*[buffer]byte)(used)) }
