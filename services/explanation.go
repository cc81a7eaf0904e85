package services

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// explained bounds the agents that an explanation which is kept tells of, the
// best ones first.
const explained = 200

// Explanation says why a session is where it is, waits or was refused.
type Explanation struct {
	SessionID string `json:"sessionId,omitempty"`
	// Outcome is placed, waiting or refused. Of a request that launches nothing
	// it is what would become of it.
	Outcome string `json:"outcome" enum:"placed,waiting,refused"`
	// AgentID is the agent that was chosen.
	AgentID string `json:"agentId,omitempty"`
	// Agents are those that can take the session, best first, then the others.
	Agents []Verdict `json:"agents"`
	// Left counts agents that are not told of.
	Left int       `json:"left,omitempty"`
	At   time.Time `json:"at"`
}

// kept is an explanation as it lies in the database.
type kept struct {
	Agents []Verdict `json:"agents"`
	Left   int       `json:"left,omitempty"`
}

func keep(verdicts []Verdict) (json.RawMessage, error) {
	body, err := json.Marshal(kept{Agents: verdicts[:min(len(verdicts), explained)], Left: max(0, len(verdicts)-explained)})
	if err != nil {
		return nil, fmt.Errorf("encode an explanation: %w", err)
	}
	return body, nil
}

// refuse keeps why a launch was refused. That it cannot be kept is no reason to
// say something else to the user.
func (s *Sessions) refuse(ctx context.Context, request LaunchRequest, why []Verdict) {
	body, err := keep(why)
	if err == nil {
		err = s.database.SavePlacement(ctx, db.Placement{SessionID: request.ID, UserID: request.Owner.ID, Outcome: db.PlacementRefused,
			Verdicts: body, At: s.options.Now()})
	}
	if err != nil {
		s.options.Logger.Error("keep why a launch was refused", "session", request.ID, "error", err)
	}
}

// Explain says why a session was placed, as it was then, or why it waits, as it
// is now, or why it was refused. owner is the user whose session it is; a
// session of that id of which nothing is known gives models.CodeSessionUnknown.
func (s *Sessions) Explain(ctx context.Context, sessionID string) (explanation Explanation, owner string, err error) {
	session, err := s.database.Session(ctx, sessionID)
	if err != nil && models.CodeOf(err) != models.CodeSessionUnknown {
		return explanation, "", err
	}
	if err == nil && session.Waiting() {
		one, err := s.placingOf(ctx, session)
		if err != nil {
			return explanation, "", err
		}
		agents, err := s.selector.Explain(ctx, &one.criteria)
		return Explanation{SessionID: sessionID, Outcome: db.PlacementWaiting, Agents: agents, At: s.options.Now()}, session.UserID, err
	}
	placement, known, placementErr := s.database.PlacementOf(ctx, sessionID)
	switch {
	case placementErr != nil:
		return explanation, "", placementErr
	case !known && err == nil:
		return explanation, session.UserID, models.Errorf(models.CodeNotFound,
			"nothing is kept of why session %q was placed on agent %q", sessionID, session.AgentID)
	case !known:
		return explanation, "", err
	}
	var then kept
	if err := json.Unmarshal(placement.Verdicts, &then); err != nil {
		return explanation, "", fmt.Errorf("read an explanation: %w", err)
	}
	return Explanation{SessionID: sessionID, Outcome: placement.Outcome, AgentID: placement.AgentID, Agents: then.Agents,
		Left: then.Left, At: placement.At}, placement.UserID, nil
}

// ExplainLaunch says what would become of a request, and launches nothing.
// Errors are as for Launch, except that being refused is none.
func (s *Sessions) ExplainLaunch(ctx context.Context, request LaunchRequest) (Explanation, error) {
	if err := request.validate(); err != nil {
		return Explanation{}, err
	}
	template, err := s.launchable(ctx, request)
	if err != nil {
		return Explanation{}, err
	}
	criteria, err := s.criteria(ctx, request, template)
	if err != nil {
		return Explanation{}, err
	}
	agents, err := s.selector.Explain(ctx, &criteria)
	if err != nil {
		return Explanation{}, err
	}
	explanation := Explanation{SessionID: request.ID, Outcome: db.PlacementRefused, Agents: agents, At: s.options.Now()}
	switch {
	case len(agents) > 0 && agents[0].Score != nil:
		explanation.Outcome, explanation.AgentID = db.PlacementPlaced, agents[0].AgentID
	case CouldFit(agents) && s.waits(request) > 0:
		explanation.Outcome = db.PlacementWaiting
	}
	return explanation, nil
}
