package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/tunnel"
)

// pool are the connections to one session in one generation, by one connection
// of its agent.
type pool struct {
	target    tunnel.Target
	transport *asker
	// requests are under way; used is when the last one ended. The proxy's lock
	// guards both.
	requests int
	used     time.Time
}

// enter gives the session's connections for one request, whose end done tells.
func (p *Proxy) enter(session Session) (transport http.RoundTripper, done func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.pools[session.Target.SessionID]
	if one == nil || one.target != session.Target {
		p.clear()
		one = &pool{target: session.Target, transport: p.transport(session)}
		p.replace(one)
	}
	if one.requests >= p.options.MaxRequests {
		return nil, nil, &models.Error{Code: models.CodeUnavailable, Retryable: true,
			Message: "too many requests to this session are under way; close some of its pages, or try again shortly"}
	}
	one.requests++
	return one.transport, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		one.requests--
		one.used = time.Now()
	}, nil
}

// replace makes one the session's pool. What goes on in an older one ends with
// its tunnels; connections of it are not used again.
func (p *Proxy) replace(one *pool) {
	if old := p.pools[one.target.SessionID]; old != nil {
		old.transport.CloseIdleConnections()
	}
	p.pools[one.target.SessionID] = one
}

// clear forgets pools that nobody has used for so long that no connection is
// left in them. Whoever adds one has them cleared, so they do not pile up.
func (p *Proxy) clear() {
	now := time.Now()
	for id, one := range p.pools {
		if one.requests == 0 && now.Sub(one.used) > 2*p.options.Idle {
			delete(p.pools, id)
			one.transport.CloseIdleConnections()
		}
	}
}

func (p *Proxy) transport(session Session) *asker {
	target := session.Target
	// Whatever a request names, this is where it goes.
	open := func(ctx context.Context) (net.Conn, error) { return p.broker.Open(ctx, target) }
	dial := open
	if session.TLS {
		dial = func(ctx context.Context) (net.Conn, error) {
			conn, err := open(ctx)
			if err != nil {
				return nil, err
			}
			// Nobody could have given the session a certificate for a name that means
			// something, and its tunnel begins in it.
			secured := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: upstream})
			if err := secured.HandshakeContext(ctx); err != nil {
				_ = conn.Close()
				return nil, err
			}
			return secured, nil
		}
	}
	connect := func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true) // an upgrade exists there alone
	return &asker{dial: dial, idle: p.options.Idle, other: &http.Transport{
		DialContext: connect, DialTLSContext: connect, Protocols: protocols, DisableCompression: true,
		MaxIdleConns: idleConns, MaxIdleConnsPerHost: idleConns, IdleConnTimeout: p.options.Idle,
		ReadBufferSize: buffer, WriteBufferSize: buffer, MaxResponseHeaderBytes: maxHeader,
		ExpectContinueTimeout: continueWithin,
	}}
}
