package services

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

const (
	// explained bounds the agents that an explanation which is kept tells of, the
	// best ones first.
	explained = 200
	// nextBest is how many agents it tells of besides the chosen one when there
	// are more agents than that: those are not all looked at.
	nextBest = 4
)

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

// kept is an explanation as it lies in the database. Most agents of a fleet are
// alike, so those with the same verdict are together.
type kept struct {
	Groups []verdictGroup `json:"groups"`
	Left   int            `json:"left,omitempty"`
}

// verdictGroup is a verdict on several agents.
type verdictGroup struct {
	AgentIDs   []string           `json:"agentIds"`
	Score      *Score             `json:"score,omitempty"`
	Rejections []models.Rejection `json:"rejections,omitempty"`
}

// keep encodes an explanation that leaves out some agents.
func keep(verdicts []Verdict, left int) (json.RawMessage, error) {
	told := verdicts[:min(len(verdicts), explained)]
	body, err := json.Marshal(kept{Groups: group(told), Left: left + len(verdicts) - len(told)})
	if err != nil {
		return nil, fmt.Errorf("encode an explanation: %w", err)
	}
	return body, nil
}

func group(verdicts []Verdict) []verdictGroup {
	groups := []verdictGroup{}
	for _, v := range verdicts {
		i := slices.IndexFunc(groups, v.like)
		if i < 0 {
			i, groups = len(groups), append(groups, verdictGroup{Score: v.Score, Rejections: v.Rejections})
		}
		groups[i].AgentIDs = append(groups[i].AgentIDs, v.AgentID)
	}
	return groups
}

// like tells whether a group has the same verdict.
func (v Verdict) like(group verdictGroup) bool {
	if v.Score != nil {
		return v.Score == group.Score || group.Score != nil && v.Score.Total == group.Score.Total && maps.Equal(v.Score.Parts, group.Score.Parts)
	}
	return group.Score == nil && slices.EqualFunc(v.Rejections, group.Rejections, func(a, b models.Rejection) bool {
		return a.Code == b.Code && a.Detail == b.Detail && slices.Equal(a.Missing, b.Missing)
	})
}

// verdicts gives each agent's own again: the best ones first, and those that are
// not fit by id.
func (k kept) verdicts() []Verdict {
	all := []Verdict{}
	for _, group := range k.Groups {
		for _, agentID := range group.AgentIDs {
			all = append(all, Verdict{AgentID: agentID, Score: group.Score, Rejections: group.Rejections})
		}
	}
	slices.SortStableFunc(all, func(a, b Verdict) int {
		switch {
		case a.Score != nil && b.Score != nil:
			return cmp.Compare(b.Score.Total, a.Score.Total)
		case a.Score != nil:
			return -1
		case b.Score != nil:
			return 1
		}
		return cmp.Compare(a.AgentID, b.AgentID)
	})
	return all
}

// refuse keeps why a launch was refused. That it cannot be kept is no reason to
// say something else to the user.
func (s *Sessions) refuse(ctx context.Context, request LaunchRequest, why []Verdict) {
	body, err := keep(why, 0)
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
	return Explanation{SessionID: sessionID, Outcome: placement.Outcome, AgentID: placement.AgentID, Agents: then.verdicts(),
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
