package services

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// waitingBatch bounds the sessions that one pass through the queue looks at.
const waitingBatch = 500

// queueUp writes a session that waits for an agent, and has the queue looked
// through: who comes later may be the first whom there is room for.
func (s *Sessions) queueUp(ctx context.Context, request LaunchRequest, template models.Template, hash string, wait time.Duration, why string, agents []Verdict) (
	models.Session, bool, error) {
	launch, err := s.launch(request, template, &AgentInfo{}, hash)
	if err == nil {
		launch.Verdicts, err = keep(agents)
	}
	if err != nil {
		return models.Session{}, false, err
	}
	until := s.options.Now().Add(wait)
	launch.Session.WaitUntil, launch.Session.Reason, launch.Session.ReasonCode = &until, why, models.CodeWaitingForAgent
	session, existed, err := s.database.LaunchSession(ctx, launch, s.options.Now())
	if err != nil || existed {
		return session, existed, err
	}
	s.queued.Store(true)
	s.options.Logger.Info("session waits for an agent", "session", session.ID, "user", session.User, "until", until, "reason", why)
	if _, err := s.PlaceWaiting(ctx); err != nil {
		s.options.Logger.Error("look through the sessions that wait for an agent", "error", err)
		return session, false, nil // the next pass will
	}
	session, err = s.database.Session(ctx, session.ID)
	return session, false, err
}

// PlaceWaiting goes through the sessions that wait for an agent, in their order:
// it places those that some agent can take now, says of the others why they
// wait, and ends those that have waited for too long. It gives how many it has
// placed. One pass at a time.
func (s *Sessions) PlaceWaiting(ctx context.Context) (placed int, err error) {
	select {
	case s.passing <- struct{}{}:
		defer func() { <-s.passing }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if err := s.giveUp(ctx); err != nil {
		return 0, err
	}
	sessions, err := s.database.WaitingSessions(ctx, waitingBatch)
	if err != nil {
		return 0, err
	}
	s.queued.Store(len(sessions) > 0)
	if len(sessions) == 0 {
		return 0, nil
	}
	all := make([]*placing, 0, len(sessions))
	for _, session := range sessions {
		one, err := s.placingOf(ctx, session)
		if err != nil {
			return 0, err
		}
		all = append(all, one)
	}
	s.placer.placeAll(ctx, all)
	for i, one := range all {
		switch {
		case one.launched.Session.AgentID != "":
			placed++
			s.dispatcher.expect(one.command)
			s.options.Logger.Info("waiting session placed", "session", sessions[i].ID, "agent", one.launched.Session.AgentID)
		case models.CodeOf(one.err) == models.CodeNoSuitableAgent && len(sessions[i].Failures) > 0 && !CouldFit(one.verdicts):
			if err := s.endFailed(ctx, sessions[i], ""); err != nil {
				return placed, err
			}
		case models.CodeOf(one.err) == models.CodeNoSuitableAgent:
			if err := s.explainWaiting(ctx, sessions[i], one.err); err != nil {
				return placed, err
			}
		case one.err != nil && models.CodeOf(one.err) != models.CodeTransitionIllegal: // which is that another replica was first
			return placed, one.err
		}
	}
	s.queued.Store(placed < len(sessions))
	return placed, nil
}

// placingOf is a waiting session on its way to an agent.
func (s *Sessions) placingOf(ctx context.Context, session models.Session) (*placing, error) {
	var asked wish
	if len(session.Placement) > 0 {
		if err := json.Unmarshal(session.Placement, &asked); err != nil {
			return nil, fmt.Errorf("read what session %q asked of its agent: %w", session.ID, err)
		}
	}
	criteria, err := s.complete(ctx, *asked.criteria(session.ID, session.Spec, session.Resources), session.UserID, session.Spec)
	if err != nil {
		return nil, err
	}
	criteria.Avoid = session.FailedAgents()
	one := &placing{criteria: criteria}
	one.launch = func(agent *AgentInfo) (db.Launch, error) {
		placed := session
		placed.AgentID, placed.ClusterID, placed.Platform, placed.Region = agent.AgentID, agent.ClusterID, agent.Platform, agent.Region
		var err error
		one.command, err = s.start(placed)
		return db.Launch{Session: placed, Command: one.command, Actor: "system", Waits: true}, err
	}
	return one, nil
}

// explainWaiting says why the session waits, if that has changed.
func (s *Sessions) explainWaiting(ctx context.Context, session models.Session, cause error) error {
	var why *models.Error
	if !errors.As(cause, &why) || why.Message == session.Reason {
		return nil
	}
	return s.database.SaveWaiting(ctx, session.ID, why.Message, models.CodeWaitingForAgent, s.options.Now())
}

// endFailed ends a session that has failed to start wherever it could run, with
// the words of the agent that it failed on and what is to be said besides.
func (s *Sessions) endFailed(ctx context.Context, session models.Session, besides string) error {
	last, reason := session.Failures[len(session.Failures)-1], session.FailedStarts()+besides
	ended, err := s.database.ForceEnd(ctx, db.ForcedEnd{
		SessionID: session.ID, From: models.SessionPending, To: models.SessionFailed, Waiting: true, Actor: "system",
		Reason: reason, ReasonCode: last.Code, Retryable: last.Retryable,
	}, s.options.Now())
	if ended {
		s.options.Logger.Warn("session failed to start, and no other agent can take it", "session", session.ID, "reason", reason)
	}
	return err
}

// giveUp ends sessions that have waited for too long.
func (s *Sessions) giveUp(ctx context.Context) error {
	now := s.options.Now()
	overdue, err := s.database.WaitedTooLong(ctx, now, waitingBatch)
	if err != nil {
		return err
	}
	for _, session := range overdue {
		if len(session.Failures) > 0 {
			if err := s.endFailed(ctx, session, "; no other agent could take it in time"); err != nil {
				return err
			}
			continue
		}
		waited := session.WaitUntil.Sub(session.CreatedAt).Round(time.Second)
		ended, err := s.database.ForceEnd(ctx, db.ForcedEnd{
			SessionID: session.ID, From: models.SessionPending, To: models.SessionFailed, Waiting: true, Actor: "system", Retryable: true,
			Reason: fmt.Sprintf("no agent could take the session within %s: %s", waited, session.Reason), ReasonCode: models.CodeWaitTimeout,
		}, now)
		if err != nil {
			return err
		}
		if ended {
			s.options.Logger.Warn("session gave up waiting", "session", session.ID, "waited", waited, "reason", session.Reason)
		}
	}
	return nil
}
