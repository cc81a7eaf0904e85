package api

import (
	"context"
	"net/http"
	"time"

	"github.com/streamspace/streamspace/models"
)

// DrainBody says how an agent is drained.
type DrainBody struct {
	DeadlineSeconds *int64 `json:"deadlineSeconds,omitempty" minimum:"0" maximum:"2592000" doc:"seconds from now after which what is left is stopped, or hibernated and moved if it keeps a home, at most 30 days; without it nothing is"`
}

type drainInput struct {
	AgentParam
	// Body may be left out, and is nil then.
	Body *DrainBody
}

// registerService are the ways to take an agent out of service and back.
func (a *agentRoutes) registerService(r *router) {
	register(r, operation(accessAdmin, http.MethodPost, base+"/agents/{id}/cordon", "cordon-agent", tagAgents,
		"Keep new sessions away from an agent, until it is uncordoned; safe to repeat", http.StatusNotFound), a.cordon)
	register(r, operation(accessAdmin, http.MethodPost, base+"/agents/{id}/uncordon", "uncordon-agent", tagAgents,
		"End an agent's cordon and drain; safe to repeat", http.StatusNotFound), a.uncordon)
	register(r, operation(accessAdmin, http.MethodPost, base+"/agents/{id}/drain", "drain-agent", tagAgents,
		"Keep new sessions away from an agent, and stop those that are left at a deadline, or move those that keep a home; asked again it changes the deadline",
		append(bodyErrors(), http.StatusNotFound)...), a.drain)
	remove := operation(accessAdmin, http.MethodDelete, base+"/agents/{id}", "remove-agent", tagAgents,
		"Remove an agent that is gone for good, with its keys", http.StatusNotFound, http.StatusConflict)
	remove.Description = "Its sessions fail, are placed anew, or move to an agent that shares their home, as their templates say. Refused while it is connected " +
		"and sessions are on it, and without force while sessions are on it."
	register(r, remove, a.remove)
}

type removeInput struct {
	AgentParam
	Force bool `query:"force" doc:"remove it although sessions are on it"`
}

// Removed is an agent that was removed.
type Removed struct {
	AgentID string `json:"agentId"`
	// Sessions are those that were on it, as they are now.
	Sessions []models.Session `json:"sessions" nullable:"false" doc:"those that were on it, as they are now"`
}

func (a *agentRoutes) remove(ctx context.Context, input *removeInput) (*output[Removed], error) {
	sessions, err := a.sessions.Remove(ctx, input.ID, actorOf(ctx), input.Force)
	if err != nil {
		return nil, err
	}
	if sessions == nil {
		sessions = []models.Session{}
	}
	return &output[Removed]{Body: Removed{AgentID: input.ID, Sessions: sessions}}, nil
}

func (a *agentRoutes) cordon(ctx context.Context, input *AgentParam) (*output[models.Agent], error) {
	return shown(a.database.CordonAgent(ctx, input.ID, actorOf(ctx), a.now()))
}

func (a *agentRoutes) uncordon(ctx context.Context, input *AgentParam) (*output[models.Agent], error) {
	return shown(a.database.UncordonAgent(ctx, input.ID, actorOf(ctx), a.now()))
}

func (a *agentRoutes) drain(ctx context.Context, input *drainInput) (*output[models.Agent], error) {
	now := a.now()
	var deadline *time.Time
	if input.Body != nil && input.Body.DeadlineSeconds != nil {
		at := now.Add(time.Duration(*input.Body.DeadlineSeconds) * time.Second)
		deadline = &at
	}
	return shown(a.database.DrainAgent(ctx, input.ID, deadline, actorOf(ctx), now))
}

func shown(agent models.Agent, err error) (*output[models.Agent], error) {
	if err != nil {
		return nil, err
	}
	return &output[models.Agent]{Body: agent}, nil
}

// actorOf is whom the history names for what the caller does.
func actorOf(ctx context.Context) string { return "user:" + userOf(ctx).Name }
