package services

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/streamspace/streamspace/models"
)

// candidate is an agent and what else is known of it.
type candidate struct {
	models.Agent
	// limit is the agent's, if somebody has read it.
	limit *models.Amount
	// connected tells that some replica can reach it.
	connected bool
	// failing tells that it has failed to start the template lately and is not
	// to be tried now.
	failing bool
	// userSessions counts the live sessions there of the user who asks.
	userSessions int
}

// room is what sessions may have of the agent.
func (c *candidate) room() models.Amount {
	if c.limit != nil {
		return *c.limit
	}
	return c.Limit()
}

// ranked is a candidate that can take the session.
type ranked struct {
	*candidate
	*points
	// tie decides among equal scores.
	tie uint64
}

// rank orders the fit candidates, best first, and gives every reason why each
// other one is not fit, by id. It is a pure function: the order of candidates
// means nothing, and heartbeats older than since are not recent.
func rank(candidates []candidate, criteria SelectionCriteria, since time.Time, weights Weights) (best []ranked, rejected []Verdict) {
	requirements, all := criteria.requirements(), populationOf(candidates)
	best, scores := make([]ranked, 0, len(candidates)), make([]points, len(candidates))
	for i := range candidates {
		c := &candidates[i]
		sight := models.Sight{Connected: c.connected || criteria.AllowDisconnected, Since: since, Failing: c.failing}
		if rejections := requirements.RejectWithin(c.Agent, c.room(), sight); len(rejections) > 0 {
			rejected = append(rejected, Verdict{AgentID: c.ID, Rejections: rejections})
		} else {
			scores[i] = c.score(criteria, requirements.Reserve, all.around(&c.Agent), weights)
			best = append(best, ranked{candidate: c, points: &scores[i], tie: tie(criteria.SessionID, c.ID)})
		}
	}
	slices.SortFunc(best, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(b.total, a.total), cmp.Compare(a.tie, b.tie), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(rejected, func(a, b Verdict) int { return cmp.Compare(a.AgentID, b.AgentID) })
	return best, rejected
}

// tie orders agents that are equally good, differently for each session.
func tie(sessionID, agentID string) uint64 {
	sum := sha256.Sum256([]byte(sessionID + "\x00" + agentID))
	return binary.BigEndian.Uint64(sum[:8])
}
