package services

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

// AgentInfo represents agent metadata for selection decisions.
type AgentInfo struct {
	AgentID      string                 `json:"agent_id"`
	ClusterID    string                 `json:"cluster_id"`
	ClusterName  string                 `json:"cluster_name"`
	Platform     string                 `json:"platform"`
	Region       string                 `json:"region"`
	Status       string                 `json:"status"`
	SessionCount int                    `json:"session_count"` // Current session load
	Capacity     map[string]interface{} `json:"capacity"`      // Resource capacity
	IsConnected  bool                   `json:"is_connected"`  // WebSocket connected
}

// SelectionCriteria defines criteria for selecting an agent. The zero value,
// like no criteria at all, takes any fit agent that is connected and prefers
// low load.
type SelectionCriteria struct {
	// ClusterID restricts selection to a specific cluster (optional)
	ClusterID string
	// Region restricts selection to a specific region (optional)
	Region string
	// Platform restricts selection to a specific platform (kubernetes, docker, etc.)
	Platform string

	// PreferLowLoad prefers agents with fewer active sessions (default: true).
	// Since true is the default, false means the same: see IgnoreLoad.
	PreferLowLoad bool
	// RequireConnected only selects agents with active WebSocket connections
	// (default: true). Since true is the default, false means the same: see
	// AllowDisconnected.
	RequireConnected bool

	// IgnoreLoad opts out of PreferLowLoad, whatever that says: any fit agent
	// is as good as another. A full agent still is not fit.
	IgnoreLoad bool
	// AllowDisconnected opts out of RequireConnected, whatever that says: an
	// agent that is online and has a recent heartbeat may be connected to
	// another replica.
	AllowDisconnected bool

	// Platforms are those that the template runs on; empty means any.
	Platforms []string
	// Needs are the commands that an agent of platform process must have. An
	// agent that never said what it has counts as having them.
	Needs []models.Need
	// SessionID decides between agents that are equally good, so that many
	// sessions spread; empty means by chance.
	SessionID string
}

// SelectorOptions configure an AgentSelector. The zero value of a field means
// its default.
type SelectorOptions struct {
	// Now is the clock that heartbeats are compared with; time.Now.
	Now func() time.Time
	// HeartbeatWithin is how old a recent heartbeat may be; wire.StaleAfter.
	HeartbeatWithin time.Duration
}

// AgentSelector handles selection of appropriate agents for session creation:
// by cluster, region, platform, health, connection, what the machine has and
// how many sessions it takes; then by load. It reserves nothing: between
// selection and launch an agent may fill up, which the launch's own
// transaction checks. Safe for concurrent use.
type AgentSelector struct {
	database *db.Database
	hub      *websocket.AgentHub
	options  SelectorOptions
}

// NewAgentSelector makes a selector with default options.
//
// Parameters:
//   - db: Database connection for querying agent metadata
//   - agentHub: AgentHub for checking WebSocket connection status
func NewAgentSelector(db *sql.DB, agentHub *websocket.AgentHub) *AgentSelector {
	return NewAgentSelectorWith(db, agentHub, SelectorOptions{})
}

// NewAgentSelectorWith makes a selector.
func NewAgentSelectorWith(handle *sql.DB, agentHub *websocket.AgentHub, options SelectorOptions) *AgentSelector {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.HeartbeatWithin <= 0 {
		options.HeartbeatWithin = wire.StaleAfter
	}
	return &AgentSelector{database: db.FromDB(handle), hub: agentHub, options: options}
}

// SelectAgent selects the best available agent. Nil criteria mean the zero
// value. When no agent is fit the error has models.CodeNoSuitableAgent, and
// its message counts the reasons and says what to do.
func (s *AgentSelector) SelectAgent(ctx context.Context, criteria *SelectionCriteria) (*AgentInfo, error) {
	if criteria == nil {
		criteria = &SelectionCriteria{}
	}
	agents, err := s.database.Candidates(ctx, db.AgentFilter{})
	if err != nil {
		return nil, fmt.Errorf("select agent: %w", err)
	}
	candidates := make([]candidate, 0, len(agents))
	for _, agent := range agents {
		candidates = append(candidates, candidate{Agent: agent, connected: s.hub.IsAgentConnected(agent.ID)})
	}
	wanted := *criteria
	if wanted.SessionID == "" {
		wanted.SessionID = rand.Text()
	}
	best, refusals := rank(candidates, wanted, s.options.Now().Add(-s.options.HeartbeatWithin))
	if len(best) == 0 {
		return nil, noSuitableAgent(wanted, refusals)
	}
	return best[0].info(), nil
}

// GetAgentInfo retrieves information about a specific agent, fit or not. An
// agent that never registered gives models.CodeAgentUnknown.
func (s *AgentSelector) GetAgentInfo(ctx context.Context, agentID string) (*AgentInfo, error) {
	agent, err := s.database.Agent(ctx, agentID)
	if err != nil {
		return nil, fmt.Errorf("agent info: %w", err)
	}
	return candidate{Agent: agent, connected: s.hub.IsAgentConnected(agentID)}.info(), nil
}

func (c candidate) info() *AgentInfo {
	capacity := c.Capacity
	if capacity == nil {
		capacity = map[string]interface{}{}
	}
	return &AgentInfo{
		AgentID: c.ID, ClusterID: c.ClusterID, ClusterName: c.ClusterName, Platform: c.Platform, Region: c.Region,
		Status: c.Status, SessionCount: c.Sessions, Capacity: capacity, IsConnected: c.connected,
	}
}
