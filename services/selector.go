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

// SelectorOptions configure an AgentSelector. The zero value of a field means
// its default.
type SelectorOptions struct {
	// Now is the clock that heartbeats are compared with; time.Now.
	Now func() time.Time
	// HeartbeatWithin is how old a recent heartbeat may be; wire.StaleAfter.
	HeartbeatWithin time.Duration
	// Weights say how much each preference counts; all of them zero means
	// DefaultWeights.
	Weights Weights
}

// AgentSelector handles selection of appropriate agents for session creation:
// by cluster, region, platform, labels, health, connection, what the machine
// has and how much of it is free; then by load and preferences. It reserves
// nothing: between selection and launch an agent may fill up, which the launch's
// own transaction checks. Safe for concurrent use.
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
	if options.Weights == (Weights{}) {
		options.Weights = DefaultWeights()
	}
	return &AgentSelector{database: db.FromDB(handle), hub: agentHub, options: options}
}

// SelectAgent selects the best available agent. Nil criteria mean the zero
// value. When no agent is fit the error has models.CodeNoSuitableAgent, and
// its message counts the reasons and says what to do. Labels, preferences and
// weights that are not valid give models.CodeInvalidRequest.
func (s *AgentSelector) SelectAgent(ctx context.Context, criteria *SelectionCriteria) (*AgentInfo, error) {
	wanted, candidates, err := s.look(ctx, criteria)
	if err != nil {
		return nil, fmt.Errorf("select agent: %w", err)
	}
	best, rejected := rank(candidates, wanted, s.since(), s.options.Weights)
	if len(best) == 0 {
		return nil, noSuitableAgent(wanted, rejected)
	}
	return best[0].info(), nil
}

// Explain says what SelectAgent would make of every agent, and selects none:
// the fit ones with their scores, best first, then the others by id with all
// the reasons why they are not. Criteria and errors are as for SelectAgent,
// except that it is no error when no agent is fit. Without a SessionID the
// order of agents that are equally good means nothing.
func (s *AgentSelector) Explain(ctx context.Context, criteria *SelectionCriteria) ([]Verdict, error) {
	wanted, candidates, err := s.look(ctx, criteria)
	if err != nil {
		return nil, fmt.Errorf("explain selection: %w", err)
	}
	return explain(candidates, wanted, s.since(), s.options.Weights), nil
}

// look completes and checks the criteria, and reads what is known of every
// agent.
func (s *AgentSelector) look(ctx context.Context, criteria *SelectionCriteria) (SelectionCriteria, []candidate, error) {
	var wanted SelectionCriteria
	if criteria != nil {
		wanted = *criteria
	}
	if wanted.SessionID == "" {
		wanted.SessionID = rand.Text()
	}
	if err := wanted.validate(); err != nil {
		return wanted, nil, err
	}
	if err := s.options.Weights.Validate(); err != nil {
		return wanted, nil, err
	}
	agents, err := s.database.Candidates(ctx, db.AgentFilter{})
	if err != nil {
		return wanted, nil, err
	}
	var loads map[string]map[string]int
	if wanted.UserID != "" {
		if loads, err = s.database.UserLoads(ctx, []string{wanted.UserID}); err != nil {
			return wanted, nil, err
		}
	}
	var failing map[string]bool
	if wanted.Template != "" {
		now := s.options.Now()
		breakers, err := s.database.Breakers(ctx, now)
		if err != nil {
			return wanted, nil, err
		}
		failing = failingAgents(breakers, wanted.Template, now)
	}
	candidates := make([]candidate, 0, len(agents))
	for _, agent := range agents {
		candidates = append(candidates, candidate{Agent: agent, connected: s.connected(agent), failing: failing[agent.ID],
			userSessions: loads[wanted.UserID][agent.ID]})
	}
	return wanted, candidates, nil
}

// since is the time after which a heartbeat is recent.
func (s *AgentSelector) since() time.Time { return s.options.Now().Add(-s.options.HeartbeatWithin) }

// GetAgentInfo retrieves information about a specific agent, fit or not. An
// agent that never registered gives models.CodeAgentUnknown.
func (s *AgentSelector) GetAgentInfo(ctx context.Context, agentID string) (*AgentInfo, error) {
	agent, err := s.database.Agent(ctx, agentID)
	if err != nil {
		return nil, fmt.Errorf("agent info: %w", err)
	}
	return candidate{Agent: agent, connected: s.connected(agent)}.info(), nil
}

// connected tells whether some replica can reach the agent: this one knows of
// its own before the database does.
func (s *AgentSelector) connected(agent models.Agent) bool {
	return agent.Connected || s.hub.IsAgentConnected(agent.ID)
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
