// Package client is a typed client of StreamSpace's HTTP API.
package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/streamspace/streamspace/models"
)

// What the API answers with, as the control plane itself has it.
type (
	Session   = models.Session
	Resources = models.Resources
	Event     = models.Event
	Agent     = models.Agent
	Command   = models.AgentCommand
)

// Options configure a Client. The zero value of a field means its default.
type Options struct {
	// HTTP makes the requests. It must not set a timeout, which would end
	// streams too; the default is a client of its own.
	HTTP *http.Client
	// Attempts is how often a request that is safe to repeat is made in all;
	// 3.
	Attempts int
	// RetryAfter is the wait before the second attempt, doubled for each
	// further one; 200 ms.
	RetryAfter time.Duration
	// UserAgent names the program; "streamspace-client".
	UserAgent string
}

// Client calls the API of one control plane as one user. Safe for concurrent
// use.
type Client struct{}

// New makes a client of the control plane at baseURL, e.g.
// http://127.0.0.1:8080. An invalid baseURL is an error of every call.
func New(baseURL, token string, options Options) *Client { return &Client{} }

var errTodo = errors.New("not built yet")

// Page asks for a part of a list. The zero value is the first part, of the
// server's own size.
type Page struct {
	Cursor string
	// Limit is at most 500.
	Limit int
}

// List is a part of a list. NextCursor is empty at the end.
type List[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"nextCursor,omitempty"`
}

// LaunchRequest is what to launch. Only Template is required.
type LaunchRequest struct {
	// ID makes the launch safe to repeat: lower case letters, digits and
	// dashes, at most 63.
	ID        string     `json:"id,omitempty"`
	Template  string     `json:"template"`
	Name      string     `json:"name,omitempty"`
	Region    string     `json:"region,omitempty"`
	ClusterID string     `json:"clusterId,omitempty"`
	Platform  string     `json:"platform,omitempty"`
	Resources *Resources `json:"resources,omitempty"`
}

// SessionFilter restricts a list of sessions.
type SessionFilter struct {
	States []models.SessionState
	Page
}

// CommandFilter restricts a list of commands.
type CommandFilter struct {
	AgentID, SessionID, Status string
	Page
}

// Ticket opens one stream once.
type Ticket struct {
	Ticket    string    `json:"ticket"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// AgentKey is a new key of an agent.
type AgentKey struct {
	AgentID string `json:"agentId"`
	Key     string `json:"key"`
}

// LoginLink signs a browser in, once.
type LoginLink struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// Me is the user that the client calls as.
type Me struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Role string `json:"role"`
}

// Template is a template as the API shows it.
type Template struct {
	Name        string          `json:"name"`
	DisplayName string          `json:"displayName"`
	Description string          `json:"description,omitempty"`
	Icon        string          `json:"icon,omitempty"`
	Protocol    models.Protocol `json:"protocol"`
	Platforms   []string        `json:"platforms"`
	Resources   Resources       `json:"resources"`
	// Available tells whether some online agent can run it now.
	Available bool `json:"available"`
	// Reason says why it is not available.
	Reason string `json:"reason,omitempty"`
	// Missing is what to install where, for it to be available.
	Missing []models.Need `json:"missing,omitempty"`
}

// Change is one message of Watch. Exactly one field is set.
type Change struct {
	// Snapshot is every session of the user that has not ended, and replaces
	// all that was known before. It comes first and after each reconnect.
	Snapshot []Session
	// Session is one session as it is now.
	Session *Session
}

// Problem is an error that the API answered with (RFC 9457).
type Problem struct {
	Type      string           `json:"type"`
	Title     string           `json:"title"`
	Status    int              `json:"status"`
	Detail    string           `json:"detail"`
	Code      models.ErrorCode `json:"code"`
	Retryable bool             `json:"retryable"`
	RequestID string           `json:"requestId,omitempty"`
}

// Error gives what is wrong in plain words.
func (p *Problem) Error() string { return p.Detail }

func (c *Client) Launch(ctx context.Context, request LaunchRequest) (Session, error) {
	return Session{}, errTodo
}
func (c *Client) Session(ctx context.Context, id string) (Session, error) { return Session{}, errTodo }
func (c *Client) Sessions(ctx context.Context, filter SessionFilter) (List[Session], error) {
	return List[Session]{}, errTodo
}
func (c *Client) Stop(ctx context.Context, id string) (Session, error) { return Session{}, errTodo }
func (c *Client) SessionCommands(ctx context.Context, id string, page Page) (List[Command], error) {
	return List[Command]{}, errTodo
}
func (c *Client) SessionEvents(ctx context.Context, id string, page Page) (List[Event], error) {
	return List[Event]{}, errTodo
}
func (c *Client) Ticket(ctx context.Context, sessionID string) (Ticket, error) {
	return Ticket{}, errTodo
}
func (c *Client) Stream(ctx context.Context, sessionID string) (net.Conn, error) {
	return nil, errTodo
}
func (c *Client) Agents(ctx context.Context, page Page) (List[Agent], error) {
	return List[Agent]{}, errTodo
}
func (c *Client) Agent(ctx context.Context, id string) (Agent, error) { return Agent{}, errTodo }
func (c *Client) CreateAgentKey(ctx context.Context, agentID string) (AgentKey, error) {
	return AgentKey{}, errTodo
}
func (c *Client) Templates(ctx context.Context, page Page) (List[Template], error) {
	return List[Template]{}, errTodo
}
func (c *Client) Template(ctx context.Context, name string) (Template, error) {
	return Template{}, errTodo
}
func (c *Client) Commands(ctx context.Context, filter CommandFilter) (List[Command], error) {
	return List[Command]{}, errTodo
}
func (c *Client) Command(ctx context.Context, id string) (Command, error) { return Command{}, errTodo }
func (c *Client) LoginLink(ctx context.Context) (LoginLink, error)        { return LoginLink{}, errTodo }
func (c *Client) Me(ctx context.Context) (Me, error)                      { return Me{}, errTodo }

// Watch calls changed for each change of the user's sessions until ctx ends or
// changed returns an error, which it returns. It reconnects by itself.
func (c *Client) Watch(ctx context.Context, changed func(Change) error) error { return errTodo }
