package api

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/tunnel"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

// The paths on which agents call.
const (
	pathRegister = wire.RegisterPath
	pathConnect  = wire.ConnectPath
	pathTunnel   = wire.TunnelPath
)

// agentRoutes are agents, as users see them and as they call themselves.
type agentRoutes struct {
	database *db.Database
	sessions *services.Sessions
	auth     *auth.Authenticator
	hub      *websocket.AgentHub
	broker   *tunnel.Broker
	origins  *origins
	now      func() time.Time
	logger   *slog.Logger
}

// AgentParam names an agent.
type AgentParam struct {
	ID string `path:"id" maxLength:"128" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" patternDescription:"an agent id: letters, digits, dots, dashes and underscores"`
}

// AgentQuery restricts a list of agents.
type AgentQuery struct {
	PageParams
	Platform  string `query:"platform" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f]*$" patternDescription:"without control characters"`
	Region    string `query:"region" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f]*$" patternDescription:"without control characters"`
	ClusterID string `query:"clusterId" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f]*$" patternDescription:"without control characters"`
	Status    string `query:"status" enum:"online,offline,draining"`
}

// AgentKey is a new key of an agent.
type AgentKey struct {
	AgentID string `json:"agentId"`
	Key     string `json:"key" doc:"shown this once; give it to the agent as STREAMSPACE_AGENT_KEY"`
}

// RegisterBody is what an agent says of itself. Keys that are not known here
// are ignored: agents may be newer, and of other makers.
type RegisterBody struct {
	_           struct{}          `additionalProperties:"true"`
	AgentID     string            `json:"agentId" minLength:"1" maxLength:"128" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" patternDescription:"letters, digits, dots, dashes and underscores"`
	Platform    string            `json:"platform" minLength:"1" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f]*$" patternDescription:"without control characters" doc:"process, docker or kubernetes"`
	Region      string            `json:"region,omitempty" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f]*$" patternDescription:"without control characters"`
	ClusterID   string            `json:"clusterId,omitempty" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f]*$" patternDescription:"without control characters"`
	ClusterName string            `json:"clusterName,omitempty" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f]*$" patternDescription:"without control characters"`
	HomeStore   string            `json:"homeStore,omitempty" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f]*$" patternDescription:"without control characters" doc:"storage that the agent's persistent homes are on; agents that name the same share them"`
	Labels      map[string]string `json:"labels,omitempty" doc:"what selectors of sessions choose by"`
	Capacity    map[string]any    `json:"capacity,omitempty" doc:"maxSessions and gpus (numbers), cpu and memory (quantities), and allocatable, an object of the same: what sessions may have"`
	Metadata    map[string]any    `json:"metadata,omitempty"`
}

type registerInput struct {
	Body RegisterBody
}

type registerOutput struct {
	Status int
	Body   models.Agent
}

func (a *agentRoutes) register(r *router) {
	register(r, operation(accessUser, http.MethodGet, base+"/agents", "list-agents", tagAgents,
		"List agents"), a.list)
	register(r, operation(accessUser, http.MethodGet, base+"/agents/{id}", "show-agent", tagAgents,
		"Show an agent", http.StatusNotFound), a.show)

	keys := operation(accessAdmin, http.MethodPost, base+"/agents/{id}/keys", "create-agent-key", tagAgents,
		"Make a key for an agent, which need not have registered yet")
	keys.DefaultStatus = http.StatusCreated
	register(r, keys, a.createKey)
	a.registerService(r)

	enrol := operation(accessAgent, http.MethodPost, pathRegister, "register-agent", tagAgents,
		"Register the agent that the key belongs to, or update what is known of it", bodyErrors()...)
	enrol.DefaultStatus = http.StatusCreated
	enrol.Responses = map[string]*huma.Response{"200": {
		Description: "It was registered already, and is updated.",
		Content: map[string]*huma.MediaType{
			"application/json": {Schema: &huma.Schema{Ref: schemaPrefix + "Agent"}},
		},
	}}
	register(r, enrol, a.enrol)

	connect := operation(accessAgent, http.MethodGet, pathConnect, "connect-agent", tagAgents,
		"Open the agent's command connection, a WebSocket of JSON text frames (docs/protocol.md)",
		http.StatusBadRequest, http.StatusNotFound, http.StatusServiceUnavailable)
	connect.Parameters = []*huma.Param{queryParam(wire.ParamAgentID, "the agent's id", true)}
	connect.Responses = map[string]*huma.Response{"101": answer("The connection is a WebSocket now.", "")}
	r.raw(connect, long(a.connect))

	dial := operation(accessAgent, http.MethodGet, pathTunnel, "open-tunnel", tagAgents,
		"Bring the stream of one session, as the control plane asked (Upgrade: "+wire.TunnelUpgrade+")",
		http.StatusBadRequest, http.StatusNotFound)
	dial.Parameters = []*huma.Param{
		queryParam(wire.ParamAgentID, "the agent's id", true),
		queryParam(wire.ParamTunnelID, "the tunnel that was asked for", true),
	}
	dial.Responses = map[string]*huma.Response{"101": answer("Both directions carry the session's bytes now.", "")}
	r.raw(dial, long(a.tunnel))
}

func (a *agentRoutes) list(ctx context.Context, input *AgentQuery) (*listOutput[models.Agent], error) {
	agents, next, err := a.database.Agents(ctx, db.AgentFilter{
		Platform: input.Platform, Region: input.Region, ClusterID: input.ClusterID, Status: input.Status,
	}, input.page())
	if err == nil {
		err = a.addFailing(ctx, agents)
	}
	return listed(agents, next, err)
}

// addFailing adds to agents what they keep failing to start.
func (a *agentRoutes) addFailing(ctx context.Context, agents []models.Agent) error {
	breakers, err := a.database.Breakers(ctx, a.now())
	for _, breaker := range breakers {
		if i := slices.IndexFunc(agents, func(agent models.Agent) bool { return agent.ID == breaker.AgentID }); i >= 0 {
			agents[i].Failing = append(agents[i].Failing, breaker)
		}
	}
	return err
}

func (a *agentRoutes) show(ctx context.Context, input *AgentParam) (*output[models.Agent], error) {
	agent, err := a.database.Agent(ctx, input.ID)
	if err != nil {
		return nil, err
	}
	one := []models.Agent{agent}
	err = a.addFailing(ctx, one)
	return shown(one[0], err)
}

func (a *agentRoutes) createKey(ctx context.Context, input *AgentParam) (*output[AgentKey], error) {
	key, err := a.auth.IssueToken(ctx, auth.Grant{
		Kind: models.TokenAgent, AgentID: input.ID, Label: "agent " + input.ID,
	})
	if err != nil {
		return nil, err
	}
	return &output[AgentKey]{Body: AgentKey{AgentID: input.ID, Key: key}}, nil
}

func (a *agentRoutes) enrol(ctx context.Context, input *registerInput) (*registerOutput, error) {
	body := input.Body
	if err := bound(ctx, body.AgentID); err != nil {
		return nil, err
	}
	for name, said := range map[string]map[string]any{"capacity": body.Capacity, "metadata": body.Metadata} {
		if err := storable(name, said); err != nil {
			return nil, err
		}
	}
	if err := models.ValidateLabels(body.Labels); err != nil {
		return nil, err
	}
	agent, created, err := a.database.RegisterAgent(ctx, models.Agent{
		ID: body.AgentID, Platform: body.Platform, Region: body.Region,
		ClusterID: body.ClusterID, ClusterName: body.ClusterName,
		HomeStore: body.HomeStore, Labels: body.Labels, Capacity: body.Capacity, Metadata: body.Metadata,
	}, a.now())
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return &registerOutput{Status: status, Body: agent}, nil
}

// storable refuses the one character that JSON allows and PostgreSQL does not.
func storable(name string, said map[string]any) error {
	encoded, err := json.Marshal(said)
	if err != nil {
		return err
	}
	if bytes.Contains(encoded, []byte(`\u0000`)) {
		return models.Errorf(models.CodeInvalidRequest, "body.%s: text must not contain the character U+0000", name)
	}
	return nil
}

func (a *agentRoutes) connect(w http.ResponseWriter, r *http.Request) {
	agentID, err := namedAgent(r)
	if err == nil {
		err = a.origins.checkUpgrade(r)
	}
	if err != nil {
		writeProblem(w, problemOf(r.Context(), a.logger, err))
		return
	}
	a.hub.ServeConnect(w, r, agentID)
}

func (a *agentRoutes) tunnel(w http.ResponseWriter, r *http.Request) {
	agentID, err := namedAgent(r)
	if err != nil {
		writeProblem(w, problemOf(r.Context(), a.logger, err))
		return
	}
	a.broker.ServeAgent(w, r, agentID)
}

// namedAgent is the agent that the query names, if it is the key's.
func namedAgent(r *http.Request) (string, error) {
	agentID := r.URL.Query().Get(wire.ParamAgentID)
	if agentID == "" {
		return "", models.Errorf(models.CodeInvalidRequest, "query.%s: the agent's id is missing", wire.ParamAgentID)
	}
	return agentID, bound(r.Context(), agentID)
}

// bound refuses a key that is used for another agent than its own.
func bound(ctx context.Context, agentID string) error {
	if requestOf(ctx).agentID == agentID {
		return nil
	}
	return models.Errorf(models.CodeForbidden,
		"this key belongs to another agent than %q; use the key that was made for it", agentID)
}
