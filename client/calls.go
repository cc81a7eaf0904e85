package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/streamspace/streamspace/models"
)

// Launch launches a session. With an ID in the request it may be repeated, by
// the caller too: the same request gives the same session.
func (c *Client) Launch(ctx context.Context, request LaunchRequest) (Session, error) {
	var session Session
	err := c.do(ctx, call{method: http.MethodPost, segments: []string{"sessions"}, body: request,
		repeatable: request.ID != ""}, &session)
	return session, err
}

// Session gives one session.
func (c *Client) Session(ctx context.Context, id string) (Session, error) {
	return get[Session](ctx, c, nil, "sessions", id)
}

// Sessions lists sessions, newest first; an admin's list has everybody's.
func (c *Client) Sessions(ctx context.Context, filter SessionFilter) (List[Session], error) {
	query := filter.query()
	if len(filter.States) > 0 {
		states := make([]string, 0, len(filter.States))
		for _, state := range filter.States {
			states = append(states, string(state))
		}
		query.Set("state", strings.Join(states, ","))
	}
	return get[List[Session]](ctx, c, query, "sessions")
}

// Stop asks for the session's end, in whatever state it is, and gives it as it
// then is. It may be repeated.
func (c *Client) Stop(ctx context.Context, id string) (Session, error) {
	var session Session
	err := c.do(ctx, call{method: http.MethodDelete, segments: []string{"sessions", id}, repeatable: true}, &session)
	return session, err
}

// Hibernate has the session's programs ended and its home kept, and gives the
// session as it then is. It may be repeated.
func (c *Client) Hibernate(ctx context.Context, id string) (Session, error) {
	return c.changeSession(ctx, id, "hibernate", nil)
}

// Wake has a hibernated session run again, and gives it as it then is. It may
// be repeated.
func (c *Client) Wake(ctx context.Context, id string, request WakeRequest) (Session, error) {
	return c.changeSession(ctx, id, "wake", request)
}

func (c *Client) changeSession(ctx context.Context, id, change string, body any) (Session, error) {
	var session Session
	err := c.do(ctx, call{method: http.MethodPost, segments: []string{"sessions", id, change}, body: body, repeatable: true}, &session)
	return session, err
}

// SessionCommands lists what agents were told about the session.
func (c *Client) SessionCommands(ctx context.Context, id string, page Page) (List[Command], error) {
	return get[List[Command]](ctx, c, page.query(), "sessions", id, "commands")
}

// SessionEvents lists what happened to the session.
func (c *Client) SessionEvents(ctx context.Context, id string, page Page) (List[Event], error) {
	return get[List[Event]](ctx, c, page.query(), "sessions", id, "events")
}

// Ticket makes a ticket for the session's stream. A ticket that nobody uses is
// harmless, so this is repeated like a read.
func (c *Client) Ticket(ctx context.Context, sessionID string) (Ticket, error) {
	var ticket Ticket
	err := c.do(ctx, call{method: http.MethodPost, segments: []string{"sessions", sessionID, "tickets"},
		repeatable: true}, &ticket)
	return ticket, err
}

// ExplainSession says why a session is on its agent, waits, or was refused.
func (c *Client) ExplainSession(ctx context.Context, sessionID string) (Explanation, error) {
	return get[Explanation](ctx, c, nil, "sessions", sessionID, "placement")
}

// ExplainLaunch says what would become of a launch, and launches nothing.
func (c *Client) ExplainLaunch(ctx context.Context, request LaunchRequest) (Explanation, error) {
	var explanation Explanation
	err := c.do(ctx, call{method: http.MethodPost, segments: []string{"placements", "explain"}, body: request, repeatable: true}, &explanation)
	return explanation, err
}

// Agents lists agents.
func (c *Client) Agents(ctx context.Context, page Page) (List[Agent], error) {
	return get[List[Agent]](ctx, c, page.query(), "agents")
}

// Agent gives one agent.
func (c *Client) Agent(ctx context.Context, id string) (Agent, error) {
	return get[Agent](ctx, c, nil, "agents", id)
}

// CreateAgentKey makes a key for the agent, for admins. It cannot be had
// again.
func (c *Client) CreateAgentKey(ctx context.Context, agentID string) (AgentKey, error) {
	var key AgentKey
	err := c.do(ctx, call{method: http.MethodPost, segments: []string{"agents", agentID, "keys"}}, &key)
	return key, err
}

// CordonAgent keeps new sessions away from the agent until UncordonAgent, for
// admins. It may be repeated.
func (c *Client) CordonAgent(ctx context.Context, id string) (Agent, error) {
	return c.changeService(ctx, id, "cordon", nil)
}

// UncordonAgent ends the agent's cordon and its drain, for admins. It may be
// repeated.
func (c *Client) UncordonAgent(ctx context.Context, id string) (Agent, error) {
	return c.changeService(ctx, id, "uncordon", nil)
}

// DrainAgent keeps new sessions away from the agent until UncordonAgent, for
// admins, and has those that are left stopped after the request's time, or
// hibernated and moved. It may be repeated: the last deadline holds.
func (c *Client) DrainAgent(ctx context.Context, id string, request DrainRequest) (Agent, error) {
	return c.changeService(ctx, id, "drain", request)
}

// RemoveAgent removes an agent that is gone for good, with its keys, for admins.
// Its sessions fail, are placed anew, or move, as their templates say; without force
// it must have none. An agent that is connected and has sessions is refused.
func (c *Client) RemoveAgent(ctx context.Context, id string, force bool) (Removed, error) {
	query := url.Values{}
	if force {
		query.Set("force", "true")
	}
	var removed Removed
	err := c.do(ctx, call{method: http.MethodDelete, segments: []string{"agents", id}, query: query}, &removed)
	return removed, err
}

func (c *Client) changeService(ctx context.Context, id, change string, body any) (Agent, error) {
	var agent Agent
	err := c.do(ctx, call{method: http.MethodPost, segments: []string{"agents", id, change}, body: body, repeatable: true}, &agent)
	return agent, err
}

// Templates lists templates, with what each lacks.
func (c *Client) Templates(ctx context.Context, page Page) (List[Template], error) {
	return get[List[Template]](ctx, c, page.query(), "templates")
}

// Template gives one template.
func (c *Client) Template(ctx context.Context, name string) (Template, error) {
	return get[Template](ctx, c, nil, "templates", name)
}

// TemplateManifest gives all of a template, as ApplyTemplate takes it.
func (c *Client) TemplateManifest(ctx context.Context, name string) (models.Template, error) {
	return get[models.Template](ctx, c, nil, "templates", name, "manifest")
}

// ApplyTemplate keeps a template until DeleteTemplate, in place of any other of
// its name, for admins. It may be repeated.
func (c *Client) ApplyTemplate(ctx context.Context, template models.Template) (Template, error) {
	var applied Template
	err := c.do(ctx, call{method: http.MethodPut, segments: []string{"templates", template.Metadata.Name}, body: template, repeatable: true}, &applied)
	return applied, err
}

// DeleteTemplate deletes a template that was applied, for admins.
func (c *Client) DeleteTemplate(ctx context.Context, name string) (DeletedTemplate, error) {
	var deleted DeletedTemplate
	err := c.do(ctx, call{method: http.MethodDelete, segments: []string{"templates", name}}, &deleted)
	return deleted, err
}

// Commands lists commands, for admins.
func (c *Client) Commands(ctx context.Context, filter CommandFilter) (List[Command], error) {
	query := filter.query()
	for name, value := range map[string]string{
		"agentId": filter.AgentID, "sessionId": filter.SessionID, "status": filter.Status,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return get[List[Command]](ctx, c, query, "commands")
}

// Command gives one command, for admins.
func (c *Client) Command(ctx context.Context, id string) (Command, error) {
	return get[Command](ctx, c, nil, "commands", id)
}

// Reconciler says which replica reconciles sessions, and what is stuck.
func (c *Client) Reconciler(ctx context.Context) (ReconcilerStatus, error) {
	return get[ReconcilerStatus](ctx, c, nil, "reconciler")
}

// LoginLink makes a link that signs a browser in as the client's user, once.
func (c *Client) LoginLink(ctx context.Context) (LoginLink, error) {
	var link LoginLink
	err := c.do(ctx, call{method: http.MethodPost, segments: []string{"login-links"}}, &link)
	return link, err
}

// Me gives the client's user.
func (c *Client) Me(ctx context.Context) (Me, error) {
	return get[Me](ctx, c, nil, "me")
}

func (p Page) query() url.Values {
	query := url.Values{}
	if p.Cursor != "" {
		query.Set("cursor", p.Cursor)
	}
	if p.Limit > 0 {
		query.Set("limit", strconv.Itoa(p.Limit))
	}
	return query
}

// All reads every part of a list: list is one of the client's methods with its
// filter, called with one Page after the other.
func All[T any](ctx context.Context, list func(context.Context, Page) (List[T], error)) ([]T, error) {
	var items []T
	page := Page{Limit: 500}
	for {
		part, err := list(ctx, page)
		if err != nil {
			return nil, err
		}
		items = append(items, part.Items...)
		if part.NextCursor == "" || part.NextCursor == page.Cursor {
			return items, nil
		}
		page.Cursor = part.NextCursor
	}
}
