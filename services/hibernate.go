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
	// Elsewhere allows another agent when the one that has the session's home
	// cannot take it. The session begins with the home that its owner has there,
	// or with an empty one.
	Elsewhere bool
}

// Wake has a hibernated session run again, where its home is. It returns as soon
// as that is written. A session that runs or wakes is given as it is.
//
// Errors: models.CodeSessionUnknown, models.CodeSessionNotRunning, and
// models.CodeNoSuitableAgent when the agent cannot take it now.
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
	verdicts, err := s.selector.Explain(ctx, &one.criteria)
	if err != nil {
		return models.Session{}, err
	}
	var refused error
	for _, verdict := range wakeable(verdicts, session.AgentID, request.Elsewhere) {
		asked := db.Awakening{SessionID: session.ID, Actor: request.Actor, Generation: session.Generation, Requirements: one.criteria.requirements()}
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
	}
	if refused == nil {
		refused = homeAway(session.AgentID, verdicts, request.Elsewhere)
	}
	return models.Session{}, refused
}

// wakeable are the agents that can take a hibernated session, the one that has
// its home first.
func wakeable(verdicts []Verdict, home string, elsewhere bool) []Verdict {
	var first, others []Verdict
	for _, verdict := range verdicts {
		switch {
		case verdict.Score == nil:
		case verdict.AgentID == home:
			first = append(first, verdict)
		case elsewhere:
			others = append(others, verdict)
		}
	}
	return append(first, others[:min(len(others), placements)]...)
}

// homeAway says why the agent that has the session's home cannot take it.
func homeAway(home string, verdicts []Verdict, elsewhere bool) error {
	why := "is not registered any more"
	for _, verdict := range verdicts {
		if verdict.AgentID == home && len(verdict.Rejections) > 0 {
			why = verdict.Rejections[0].Detail
		}
	}
	message := fmt.Sprintf("agent %q, which has the session's home, %s; try again later, or wake the session elsewhere, without that home", home, why)
	if elsewhere {
		message = fmt.Sprintf("agent %q, which has the session's home, %s, and no other agent can take the session now; try again later", home, why)
	}
	return &models.Error{Code: models.CodeNoSuitableAgent, Retryable: true, Message: message}
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
