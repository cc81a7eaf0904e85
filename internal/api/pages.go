package api

import (
	"context"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/tunnel"
	"github.com/streamspace/streamspace/tunnel/proxy"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

const (
	// pagesCookie is what a browser holds for a session with a host name of its own.
	pagesCookie = "streamspace-session"
	// openPage is the one path of ours there, below models.PagesPath and the
	// session's id, and where a ticket leads.
	openPage = "open"
)

// pages shows sessions of protocol http. A session is at a host name of its own,
// where a cookie lets its owner in, or on the console's origin below a prefix
// that nobody guesses: pages there are in a sandbox, from which browsers send no
// cookie.
type pages struct {
	database *db.Database
	auth     *auth.Authenticator
	hub      *websocket.AgentHub
	proxy    *proxy.Proxy
	activity *services.ActivityKeeper
	origins  *origins
	hosts    sessionHosts
	logger   *slog.Logger
	grants   *recent[models.PageGrant]
	sessions *recent[models.Session]
}

func newPages(config Config, origins *origins, hosts sessionHosts) *pages {
	p := &pages{
		database: config.Database, auth: config.Auth, hub: config.Hub, activity: config.Activity, origins: origins, hosts: hosts, logger: config.Logger,
		grants: newRecent[models.PageGrant](config.Now), sessions: newRecent[models.Session](config.Now),
	}
	p.proxy = proxy.New(currentOnly{config.Broker, config.Database}, proxy.Options{Failed: p.failed, Logger: config.Logger})
	return p
}

// currentOnly opens tunnels to sessions that are still what they were taken for
// once the tunnel is there: a stop that came meanwhile found nothing to close.
type currentOnly struct {
	broker   *tunnel.Broker
	database *db.Database
}

// Open implements proxy.Broker.
func (c currentOnly) Open(ctx context.Context, target tunnel.Target) (net.Conn, error) {
	conn, err := c.broker.Open(ctx, target)
	if err != nil {
		return nil, err
	}
	session, err := c.database.Session(ctx, target.SessionID)
	if err == nil {
		err = streamable(session, target.Generation)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// shown serves what is a session's, and leaves the rest to next.
func (p *pages) shown(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		own, atHost := p.hosts.session(r)
		rest, below := strings.CutPrefix(r.URL.Path, models.PagesPath)
		if !atHost && !below {
			next.ServeHTTP(w, r)
			return
		}
		begun := requestOf(r.Context())
		begun.long = true
		id, rest, _ := strings.Cut(rest, "/")
		if key, path, _ := strings.Cut(rest, "/"); below && key != openPage {
			begun.path = models.PagesPath + id + "/REDACTED/" + path // whoever has the key has the session
		}
		if atHost {
			p.own(w, r, own)
			return
		}
		p.shared(w, r, id, rest)
	})
}

// own serves a session at its own host name.
func (p *pages) own(w http.ResponseWriter, r *http.Request, id string) {
	if r.URL.Path == models.PagesPath+id+"/"+openPage {
		p.open(w, r, id)
		return
	}
	cookie, err := r.Cookie(p.cookieName(r))
	if err != nil {
		p.failed(w, r, models.Errorf(models.CodeUnauthenticated, "nobody is signed in to this session here; open it in the console"))
		return
	}
	if err := fromHere(r); err != nil {
		p.failed(w, r, err)
		return
	}
	if err := p.granted(r.Context(), cookie.Value, id); err != nil {
		p.failed(w, r, err)
		return
	}
	p.pass(w, r, id, proxy.Place{Scheme: p.scheme(r), Host: r.Host, Trustworthy: p.trustworthy(r)})
}

// shared serves a session on the console's origin. rest is the path after the
// session's id, and begins with the key.
func (p *pages) shared(w http.ResponseWriter, r *http.Request, id, rest string) {
	key, _, slash := strings.Cut(rest, "/")
	err := p.origins.checkHost(r)
	if err == nil && !p.hosts.shared(r) {
		err = models.Errorf(models.CodeNotFound, "sessions have host names of their own here; open it in the console")
	}
	if err != nil {
		p.failed(w, r, err)
		return
	}
	if rest == openPage {
		p.open(w, r, id)
		return
	}
	if err := p.keyed(r.Context(), key, id); err != nil {
		p.failed(w, r, err)
		return
	}
	place := proxy.Place{Scheme: p.scheme(r), Host: r.Host, Prefix: models.PagesPath + id + "/" + key, Shared: true, Trustworthy: p.trustworthy(r)}
	if !slash {
		http.Redirect(w, r, place.Prefix+"/", http.StatusSeeOther)
		return
	}
	p.pass(w, r, id, place)
}

// granted checks the right of a browser to see the session's pages.
func (p *pages) granted(ctx context.Context, secret, id string) error {
	grant, err := p.grants.get(secret, func() (models.PageGrant, error) { return p.auth.PageGrant(ctx, secret) })
	if err == nil && grant.SessionID != id {
		err = models.Errorf(models.CodeUnauthenticated, "the right to see pages is another session's; open this one in the console")
	}
	return err
}

// keyed checks the key in an address: that of a grant, or the session's own if it
// was told its prefix.
func (p *pages) keyed(ctx context.Context, key, id string) error {
	session, err := p.session(ctx, id)
	if err == nil {
		own := session.Spec.PagePrefix()
		if own != "" && subtle.ConstantTimeCompare([]byte(own), []byte(models.PagesPath+id+"/"+key)) == 1 {
			return nil
		}
	}
	// Of sessions that are not there, nobody is told.
	return p.granted(ctx, key, id)
}

func (p *pages) session(ctx context.Context, id string) (models.Session, error) {
	return p.sessions.get(id, func() (models.Session, error) { return p.database.Session(ctx, id) })
}

// pass passes a request that is allowed on to the session.
func (p *pages) pass(w http.ResponseWriter, r *http.Request, id string, place proxy.Place) {
	session, err := p.session(r.Context(), id)
	if err == nil {
		err = paged(session)
	}
	if err == nil {
		err = streamable(session, session.Generation)
	}
	if err != nil {
		p.failed(w, r, err)
		return
	}
	epoch, connected := p.hub.Epoch(session.AgentID)
	if !connected {
		p.failed(w, r, &models.Error{Code: models.CodeAgentUnavailable, Retryable: true,
			Message: "the session's agent is not connected now; the session keeps running, try again shortly"})
		return
	}
	if session.IdleTimeout != "" {
		gone, err := p.activity.Viewed(session.ID, false)
		if err != nil {
			p.failed(w, r, err)
			return
		}
		defer gone()
	}
	if auth.Ours(r.Header.Get("Authorization")) {
		r.Header.Del("Authorization")
	}
	r.Header.Del(wire.HeaderAgentKey)
	if own := session.Spec.PagePrefix(); own != "" {
		place.Prefix, place.Whole = own, true
	}
	place.Framers, place.Hidden = p.hosts.consoles(r), hiddenCookies()
	pagesOf := session.Spec.Spec.HTTP
	p.proxy.Serve(w, r, proxy.Session{
		Target: tunnel.Target{AgentID: session.AgentID, Epoch: epoch, SessionID: session.ID, Generation: session.Generation},
		TLS:    pagesOf.TLS, Username: models.Expand(pagesOf.Username, session.Spec.Spec.Env), Password: models.Expand(pagesOf.Password, session.Spec.Spec.Env),
	}, place)
}

// paged refuses sessions that have no pages.
func paged(session models.Session) error {
	if session.Protocol == models.ProtocolHTTP && session.Spec.Spec.HTTP != nil {
		return nil
	}
	return models.Errorf(models.CodeInvalidRequest, "session %s has no pages; open it in the console", session.ID)
}

// hiddenCookies are ours, which no session sees or sets.
func hiddenCookies() []string {
	return []string{auth.CookieName, auth.SecureCookieName, pagesCookie, hostPrefix + pagesCookie}
}

// hostPrefix has browsers refuse a cookie of the name that another host has set
// for this one.
const hostPrefix = "__Host-"

func (p *pages) cookieName(r *http.Request) string {
	if p.scheme(r) == "https" {
		return hostPrefix + pagesCookie
	}
	return pagesCookie
}

// scheme is how the browser reaches us.
func (p *pages) scheme(r *http.Request) string {
	if r.TLS != nil || p.hosts.public != nil && p.hosts.public.Scheme == "https" && !loopback(r.Host) {
		return "https"
	}
	return "http"
}

// trustworthy tells whether browsers take the origin for a secure one.
func (p *pages) trustworthy(r *http.Request) bool { return p.scheme(r) == "https" || loopback(r.Host) }

// address is where the ticket leads the sender of a request to the console.
func (p *pages) address(r *http.Request, session models.Session, ticket string) string {
	path, query := models.PagesPath+session.ID+"/"+openPage, url.Values{"ticket": {ticket}}
	if p.hosts.shared(r) {
		return p.origins.address(r, path, query)
	}
	address := p.hosts.of(r, session.ID, p.origins.secure(r))
	address.Path, address.RawQuery = path, query.Encode()
	return address.String()
}

// open makes of a ticket the right to see the session's pages, and goes on to
// the first of them, in whose address the ticket is not.
func (p *pages) open(w http.ResponseWriter, r *http.Request, id string) {
	if r.Method != http.MethodGet {
		// Looking must not use the ticket up.
		w.Header().Set("Allow", http.MethodGet)
		writeProblem(w, newProblem(r.Context(), models.CodeInvalidRequest, "a ticket is opened by GET").withStatus(http.StatusMethodNotAllowed))
		return
	}
	session, secret, expires, err := p.redeem(r, id)
	if err != nil {
		p.failed(w, r, err)
		return
	}
	begin, prefix := session.Spec.Spec.HTTP.StartPath(), session.Spec.PagePrefix()
	if p.hosts.shared(r) {
		if prefix == "" {
			prefix = models.PagesPath + id + "/" + secret
		}
	} else {
		http.SetCookie(w, p.cookie(r, secret, expires))
	}
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Location", prefix+begin)
	w.WriteHeader(http.StatusSeeOther)
}

func (p *pages) cookie(r *http.Request, value string, expires time.Time) *http.Cookie {
	cookie := &http.Cookie{Name: p.cookieName(r), Value: value, Path: "/", Expires: expires, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if p.trustworthy(r) {
		// The console may be another site to browsers, and shows the page inside of
		// its own; the cookie is sent there and in no other site's pages.
		cookie.Secure, cookie.Partitioned, cookie.SameSite = true, true, http.SameSiteNoneMode
	}
	return cookie
}

// redeem uses a ticket up once all else is known to be right.
func (p *pages) redeem(r *http.Request, id string) (session models.Session, secret string, expires time.Time, err error) {
	ctx := r.Context()
	code := r.URL.Query().Get("ticket")
	ticket, err := p.auth.Ticket(ctx, code)
	if err != nil {
		return session, "", expires, err
	}
	if ticket.SessionID != id {
		return session, "", expires, models.Errorf(models.CodeTicketInvalid, "this ticket is for another session")
	}
	if session, err = p.database.Session(ctx, id); err != nil {
		return session, "", expires, err
	}
	if err = paged(session); err == nil {
		err = streamable(session, ticket.Generation)
	}
	if err != nil {
		return session, "", expires, err
	}
	if _, err = p.auth.RedeemTicket(ctx, code); err != nil {
		return session, "", expires, err
	}
	secret, expires, err = p.auth.NewPageGrant(ctx, id, ticket.UserID)
	return session, secret, expires, err
}

// fromHere refuses what a page of another origin has the browser send along with
// the session's cookie: another session's page above all, which is of the same
// site. Following a link is fine, as anybody may link to anything.
func fromHere(r *http.Request) error {
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	switch {
	case site == "same-origin" || site == "none":
		return nil
	case site == "" && origin == "":
		return nil // no browser, or one that tells only when something changes
	case site == "":
		if parsed, err := url.Parse(origin); err == nil && strings.EqualFold(parsed.Host, r.Host) {
			return nil
		}
	case (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Header.Get("Sec-Fetch-Mode") == "navigate":
		return nil
	}
	return models.Errorf(models.CodeOriginForeign, "a page of another origin sent this request; only the session's own pages may")
}
