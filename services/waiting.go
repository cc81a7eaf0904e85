package services

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

const (
	// waitingBatch bounds the waiting sessions that are in memory at once.
	waitingBatch = 500
	// waitingPass bounds the sessions that one pass through the queue looks at.
	waitingPass = 10_000
)

// queueUp writes a session that waits for an agent, and has the queue looked
// through: who comes later may be the first whom there is room for.
func (s *Sessions) queueUp(ctx context.Context, request LaunchRequest, template models.Template, hash string, wait time.Duration, why string, agents []Verdict) (
	models.Session, bool, error) {
	launch, err := s.launch(request, template, &AgentInfo{}, hash)
	if err == nil {
		launch.Verdicts, err = keep(agents, 0)
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
	begun := s.passes.Load()
	s.options.Logger.Info("session waits for an agent", "session", session.ID, "user", session.User, "until", until, "reason", why)
	if err := s.passAfter(ctx, begun); err != nil {
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
//
// A queue that is too long for one pass is gone through in several, of which
// each begins with the head of the queue.
func (s *Sessions) PlaceWaiting(ctx context.Context) (placed int, err error) {
	select {
	case s.passing <- struct{}{}:
		defer func() { <-s.passing }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return s.pass(ctx)
}

// passAfter makes a pass unless there is one that began after so many others:
// many who queue up at once share one.
func (s *Sessions) passAfter(ctx context.Context, begun uint64) error {
	select {
	case s.passing <- struct{}{}:
		defer func() { <-s.passing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.passes.Load() > begun {
		return nil
	}
	_, err := s.pass(ctx)
	return err
}

// pass is one pass through the queue. The caller has the place in passing.
func (s *Sessions) pass(ctx context.Context) (placed int, err error) {
	s.passes.Add(1)
	if err := s.giveUp(ctx); err != nil {
		return 0, err
	}
	ids, err := s.database.WaitingIDs(ctx, waitingBatch, s.reached, s.passBound)
	if err != nil {
		return 0, err
	}
	s.queued.Store(len(ids) > 0)
	refused := map[string]*placing{}
	for page := range slices.Chunk(ids, waitingBatch) {
		more, err := s.placePage(ctx, page, refused)
		placed += more
		if err != nil {
			return placed, err
		}
	}
	if len(ids) < s.passBound {
		s.reached = 0
	} else {
		s.reached = max(s.reached, waitingBatch) + len(ids) - waitingBatch
	}
	s.queued.Store(placed < len(ids))
	return placed, nil
}

// placePage places those of the sessions that some agent can take now. What no
// agent can take is in refused, by kind, and is not looked for again in this
// pass: however many wait, that costs little more than reading them.
func (s *Sessions) placePage(ctx context.Context, ids []string, refused map[string]*placing) (placed int, err error) {
	sessions, err := s.database.WaitingSessions(ctx, ids)
	if err != nil {
		return 0, err
	}
	all, fresh := make([]*placing, 0, len(sessions)), make([]*placing, 0, len(sessions))
	kinds := make([]string, 0, len(sessions))
	for _, session := range sessions {
		asked, err := asked(session)
		if err != nil {
			return 0, err
		}
		kind, err := asked.kind()
		if err != nil {
			return 0, err
		}
		one, known := refused[kind]
		if !known {
			if one, err = s.placingOf(ctx, session); err != nil {
				return 0, err
			}
			fresh = append(fresh, one)
		}
		all, kinds = append(all, one), append(kinds, kind)
	}
	s.placer.placeAll(ctx, fresh)
	why := map[string][]string{}
	for i, one := range all {
		switch {
		case one.launched.Session.AgentID != "":
			placed++
			s.dispatcher.expect(one.command)
			s.options.Logger.Info("waiting session placed", "session", sessions[i].ID, "agent", one.launched.Session.AgentID)
		case models.CodeOf(one.err) == models.CodeNoSuitableAgent && sessions[i].FailedLast() && !CouldFit(one.verdicts):
			refused[kinds[i]] = one
			if err := s.endFailed(ctx, sessions[i], ""); err != nil {
				return placed, err
			}
		case models.CodeOf(one.err) == models.CodeNoSuitableAgent:
			refused[kinds[i]] = one
			var refusal *models.Error
			if errors.As(one.err, &refusal) && refusal.Message != sessions[i].Reason {
				why[refusal.Message] = append(why[refusal.Message], sessions[i].ID)
			}
		case one.err != nil && models.CodeOf(one.err) != models.CodeTransitionIllegal: // which is that another replica was first
			return placed, one.err
		}
	}
	for reason, waiting := range why {
		if err := s.database.SaveWaiting(ctx, waiting, reason, models.CodeWaitingForAgent, s.options.Now()); err != nil {
			return placed, err
		}
	}
	return placed, nil
}

// asked is what the request of a session asked of its agent.
func asked(session models.Session) (SelectionCriteria, error) {
	var asked wish
	if len(session.Placement) > 0 {
		if err := json.Unmarshal(session.Placement, &asked); err != nil {
			return SelectionCriteria{}, fmt.Errorf("read what session %q asked of its agent: %w", session.ID, err)
		}
	}
	criteria := asked.criteria(session.ID, session.Spec, session.Resources)
	criteria.Avoid = session.FailedAgents()
	return *criteria, nil
}

// placingOf is a waiting session on its way to an agent.
func (s *Sessions) placingOf(ctx context.Context, session models.Session) (*placing, error) {
	criteria, err := asked(session)
	if err == nil {
		criteria, err = s.complete(ctx, criteria, session.UserID, session.Spec)
	}
	if err != nil {
		return nil, err
	}
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

// lostBefore says that the session was lost, and where, if that is why it waits.
func lostBefore(session models.Session) string {
	if len(session.Losses) == 0 {
		return ""
	}
	return fmt.Sprintf("it was lost on agent %q and was to be placed anew; ", session.Losses[len(session.Losses)-1].AgentID)
}

// giveUp ends sessions that have waited for too long.
func (s *Sessions) giveUp(ctx context.Context) error {
	now := s.options.Now()
	overdue, err := s.database.WaitedTooLong(ctx, now, waitingBatch)
	if err != nil {
		return err
	}
	for _, session := range overdue {
		if session.FailedLast() {
			if err := s.endFailed(ctx, session, "; no other agent could take it in time"); err != nil {
				return err
			}
			continue
		}
		waited := session.WaitUntil.Sub(session.StateSince).Round(time.Second)
		ended, err := s.database.ForceEnd(ctx, db.ForcedEnd{
			SessionID: session.ID, From: models.SessionPending, To: models.SessionFailed, Waiting: true, Actor: "system", Retryable: true,
			Reason: fmt.Sprintf("%sno agent could take the session within %s: %s", lostBefore(session), waited, session.Reason), ReasonCode: models.CodeWaitTimeout,
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
