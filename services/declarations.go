package services

import (
	"context"
	"database/sql"
	"log/slog"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/websocket"
)

type AgentInfo struct {
	AgentID      string                 `json:"agent_id"`
	ClusterID    string                 `json:"cluster_id"`
	ClusterName  string                 `json:"cluster_name"`
	Platform     string                 `json:"platform"`
	Region       string                 `json:"region"`
	Status       string                 `json:"status"`
	SessionCount int                    `json:"session_count"`
	Capacity     map[string]interface{} `json:"capacity"`
	IsConnected  bool                   `json:"is_connected"`
}

type SelectionCriteria struct {
	ClusterID, Region, Platform     string
	PreferLowLoad, RequireConnected bool
	IgnoreLoad, AllowDisconnected   bool
	Platforms                       []string
	Needs                           []models.Need
	SessionID                       string
}

type SelectorOptions struct {
	Now             func() time.Time
	HeartbeatWithin time.Duration
}
type AgentSelector struct{}

func NewAgentSelector(db *sql.DB, agentHub *websocket.AgentHub) *AgentSelector { return nil }
func NewAgentSelectorWith(db *sql.DB, agentHub *websocket.AgentHub, options SelectorOptions) *AgentSelector {
	return nil
}
func (s *AgentSelector) SelectAgent(ctx context.Context, criteria *SelectionCriteria) (*AgentInfo, error) {
	return nil, nil
}
func (s *AgentSelector) GetAgentInfo(ctx context.Context, agentID string) (*AgentInfo, error) {
	return nil, nil
}

type DispatcherOptions struct {
	Workers, QueueSize int
	PollEvery          time.Duration
	Logger             *slog.Logger
	Now                func() time.Time
}
type DispatcherStats struct {
	Sent, Resent, Completed, Failed, TimedOut uint64
	QueueLength                               int
}
type CommandDispatcher struct{}

func NewCommandDispatcher(database *db.Database, hub *websocket.AgentHub) *CommandDispatcher {
	return nil
}
func NewCommandDispatcherWith(database *db.Database, hub *websocket.AgentHub, options DispatcherOptions) *CommandDispatcher {
	return nil
}
func (d *CommandDispatcher) DispatchCommand(command *models.AgentCommand) error { return nil }
func (d *CommandDispatcher) DispatchPendingCommands() error                     { return nil }
func (d *CommandDispatcher) GetQueueCapacity() int                              { return 0 }
func (d *CommandDispatcher) GetQueueLength() int                                { return 0 }
func (d *CommandDispatcher) SetWorkers(count int)                               {}
func (d *CommandDispatcher) Start()                                             {}
func (d *CommandDispatcher) Stop()                                              {}
func (d *CommandDispatcher) Stats() DispatcherStats                             { return DispatcherStats{} }

type ReconcilerOptions struct {
	Interval                                                      time.Duration
	PendingAfter, TerminatingAfter, HibernatingAfter, WakingAfter time.Duration
	AgentGoneAfter, GiveUpAfter, CommandDeadline                  time.Duration
	Logger                                                        *slog.Logger
	Now                                                           func() time.Time
}
type SessionReconciler struct{}

func NewSessionReconciler(database *db.Database, agentHub *websocket.AgentHub, dispatcher *CommandDispatcher) *SessionReconciler {
	return nil
}
func NewSessionReconcilerWith(database *db.Database, agentHub *websocket.AgentHub, dispatcher *CommandDispatcher, options ReconcilerOptions) *SessionReconciler {
	return nil
}
func (r *SessionReconciler) GetStats() (map[string]int, error) { return nil, nil }
func (r *SessionReconciler) Start()                            {}
func (r *SessionReconciler) Stop()                             {}

type SessionsOptions struct {
	Logger          *slog.Logger
	Now             func() time.Time
	NewID           func() string
	CommandDeadline time.Duration
}
type LaunchRequest struct {
	ID, Name, Template, Region, ClusterID, Platform string
	Resources                                       models.Resources
	Owner                                           models.User
}
type Sessions struct{}

func NewSessions(database *db.Database, selector *AgentSelector, dispatcher *CommandDispatcher, options SessionsOptions) *Sessions {
	return nil
}
func (s *Sessions) Launch(ctx context.Context, request LaunchRequest) (session models.Session, existed bool, err error) {
	return
}
func (s *Sessions) Stop(ctx context.Context, sessionID, actor string) (session models.Session, err error) {
	return
}

type InventoryOptions struct {
	Logger *slog.Logger
	Now    func() time.Time
	Grace  time.Duration
}
type Inventory struct{}

func NewInventory(database *db.Database, hub *websocket.AgentHub, options InventoryOptions) *Inventory {
	return nil
}

type Feed struct{}

func NewFeed() *Feed                                        { return nil }
func (f *Feed) Publish(sessionID string)                    {}
func (f *Feed) Subscribe(ctx context.Context) <-chan string { return nil }
