package services

import (
	"context"
	"fmt"
	"slices"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// Hibernate has a session's programs ended and its home kept, so that it takes
// nothing until it is woken. It returns as soon as that is written. A session
// that hibernates already is given as it is. actor is whom the history names.
//
// Errors: models.CodeSessionUnknown, models.CodeSessionNotRunning, and
// models.CodeInvalidRequest when the session's template keeps no home.
func (s *Sessions) Hibernate(ctx context.Context, sessionID, actor string) (models.Session, error) {
	return s.hibernate(ctx, db.Hibernation{SessionID: sessionID, Actor: actor})
}

// hibernate fills in the command of what is asked, and has it sent.
func (s *Sessions) hibernate(ctx context.Context, asked db.Hibernation) (models.Session, error) {
	now := s.options.Now()
	asked.CommandID, asked.DeadlineAt = s.options.NewCommandID(), now.Add(s.options.CommandDeadline)
	session, command, err := s.database.HibernateSession(ctx, asked, now)
	if err != nil {
		return models.Session{}, fmt.Errorf("hibernate session: %w", err)
	}
	//failpoint:hibernate-committed
	if command != nil {
		s.dispatcher.expect(*command)
		s.options.Logger.Info("session hibernating", "session", session.ID, "agent", session.AgentID, "actor", asked.Actor)
	}
	return session, nil
}

// WakeRequest asks that a hibernated session runs again.
type WakeRequest struct {
	SessionID string
	// Actor is whom the history names.
	Actor string
	// Elsewhere allows an agent that has not the session's home when none that has
	// it can take it. The session begins with the home that its owner has there,
	// or with an empty one.
	Elsewhere bool
	// reason is what the history says besides the actor.
	reason string
	// moves restricts to a session that a drain still is to move.
	moves bool
}

// Wake has a hibernated session run again, where its home is: on the agent that
// it was on, or else the best of those that share that one's home store. It
// returns as soon as that is written. A session that runs or wakes is given as
// it is.
//
// Errors: models.CodeSessionUnknown, models.CodeSessionNotRunning, and
// models.CodeNoSuitableAgent when no such agent can take it now.
func (s *Sessions) Wake(ctx context.Context, request WakeRequest) (models.Session, error) {
	session, err := s.database.Session(ctx, request.SessionID)
	if err != nil {
		return models.Session{}, err
	}
	if session.State != models.SessionHibernated {
		session, _, err := s.database.WakeSession(ctx, db.Awakening{SessionID: session.ID}, s.options.Now())
		return session, err
	}
	one, err := s.placingOf(ctx, session)
	if err != nil {
		return models.Session{}, err
	}
	home, err := s.database.Agent(ctx, session.AgentID)
	if err != nil && models.CodeOf(err) != models.CodeAgentUnknown { // of which no store is known
		return models.Session{}, err
	}
	wishes := &one.criteria.Preferences
	wishes.HomeAgent, wishes.HomeStore = session.AgentID, home.HomeStore
	verdicts, err := s.selector.Explain(ctx, &one.criteria)
	if err != nil {
		return models.Session{}, err
	}
	var refused error
	for _, verdict := range wakeable(verdicts, session.AgentID, request.Elsewhere) {
		asked := db.Awakening{SessionID: session.ID, Actor: request.Actor, Reason: request.reason, Moves: request.moves, From: session.AgentID, Generation: session.Generation, Requirements: one.criteria.requirements()}
		if verdict.AgentID != session.AgentID {
			if asked.Verdicts, err = keep(chosenFirst(verdicts, verdict.AgentID), 0); err != nil {
				return models.Session{}, err
			}
		}
		woken, err := s.wakeOn(ctx, session, verdict.AgentID, asked)
		if err == nil || models.CodeOf(err) != models.CodeNoSuitableAgent {
			return woken, err
		}
		refused = err // it filled up meanwhile
		lost := slices.IndexFunc(verdicts, func(v Verdict) bool { return v.AgentID == verdict.AgentID })
		verdicts[lost] = Verdict{AgentID: verdict.AgentID, Rejections: []models.Rejection{{Code: models.RejectedUnwritten, Detail: "is not fit any more"}}}
	}
	if refused == nil {
		refused = homeAway(*wishes, verdicts, request.Elsewhere)
	}
	return models.Session{}, refused
}

// wakeable are the agents that can take a hibernated session: the one that it
// was on, then those that share its home, then any, each by their scores.
func wakeable(verdicts []Verdict, home string, elsewhere bool) []Verdict {
	var first, sharing, others []Verdict
	for _, verdict := range verdicts {
		switch {
		case verdict.Score == nil:
		case verdict.AgentID == home:
			first = append(first, verdict)
		case verdict.Score.Parts["home"] == 1:
			sharing = append(sharing, verdict)
		case elsewhere:
			others = append(others, verdict)
		}
	}
	all := slices.Concat(first, sharing, others)
	return all[:min(len(all), placements)]
}

// homeAway says why no agent that has the session's home can take it.
func homeAway(home models.Preferences, verdicts []Verdict, elsewhere bool) error {
	why, others, instead := "is not registered any more", "", ", or wake the session elsewhere, without that home"
	for _, verdict := range verdicts {
		if verdict.AgentID == home.HomeAgent && len(verdict.Rejections) > 0 {
			why = verdict.Rejections[0].Detail
		}
	}
	if home.HomeStore != "" {
		others = fmt.Sprintf(", and no other agent of home store %q can take the session now", home.HomeStore)
	}
	if elsewhere {
		others, instead = ", and no other agent can take the session now", ""
	}
	return &models.Error{Code: models.CodeNoSuitableAgent, Retryable: true,
		Message: fmt.Sprintf("agent %q, which has the session's home, %s%s; try again later%s", home.HomeAgent, why, others, instead)}
}

// chosenFirst puts the verdict on the chosen agent before the others.
func chosenFirst(verdicts []Verdict, agentID string) []Verdict {
	chosen := slices.IndexFunc(verdicts, func(v Verdict) bool { return v.AgentID == agentID })
	return slices.Concat(verdicts[chosen:chosen+1], verdicts[:chosen], verdicts[chosen+1:])
}

// wakeOn has a session run on the agent, as it is asked for.
func (s *Sessions) wakeOn(ctx context.Context, session models.Session, agentID string, asked db.Awakening) (models.Session, error) {
	agent, err := s.database.Agent(ctx, agentID)
	if models.CodeOf(err) == models.CodeAgentUnknown { // it was removed meanwhile
		err = &models.Error{Code: models.CodeNoSuitableAgent, Retryable: true, Err: err, Message: fmt.Sprintf("agent %q is not registered any more", agentID)}
	}
	if err != nil {
		return models.Session{}, err
	}
	next := session
	next.AgentID, next.Generation = agentID, session.Generation+1
	command, err := s.start(next)
	if err != nil {
		return models.Session{}, err
	}
	command.Action = models.ActionWakeSession
	asked.Agent, asked.Command = agent, command
	woken, done, err := s.database.WakeSession(ctx, asked, s.options.Now())
	if err != nil {
		return models.Session{}, fmt.Errorf("wake session: %w", err)
	}
	//failpoint:wake-committed
	if done {
		s.dispatcher.expect(command)
		s.options.Logger.Info("session waking", "session", session.ID, "agent", agentID, "actor", asked.Actor)
	}
	return woken, nil
}
