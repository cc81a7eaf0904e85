package services

import (
	"slices"
	"time"

	"github.com/streamspace/streamspace/models"
)

// Verdict is what a selection made of one agent: a score when it can take the
// session, or else every reason why not, the main one first.
type Verdict struct {
	AgentID    string             `json:"agentId"`
	Score      *Score             `json:"score,omitempty"`
	Rejections []models.Rejection `json:"rejections,omitempty"`
}

// explain gives a verdict for every candidate: the fit ones, best first, then
// the others by id. It is pure as rank is.
func explain(candidates []candidate, criteria SelectionCriteria, since time.Time, weights Weights) []Verdict {
	return verdicts(rank(candidates, criteria, since, weights))
}

// verdicts are those of a ranking.
func verdicts(best []ranked, rejected []Verdict) []Verdict {
	all := make([]Verdict, 0, len(best)+len(rejected))
	scores := map[points]*Score{} // most agents of a fleet are alike
	for _, c := range best {
		score, known := scores[*c.points]
		if !known {
			score = c.points.score()
			scores[*c.points] = score
		}
		all = append(all, Verdict{AgentID: c.ID, Score: score})
	}
	return append(all, rejected...)
}

// CouldFit tells whether waiting could help: some agent can take the session,
// or is kept from it only by what may pass. Draining and cordoned agents count,
// since a person may give them back.
func CouldFit(verdicts []Verdict) bool {
	return slices.ContainsFunc(verdicts, func(v Verdict) bool {
		return !slices.ContainsFunc(v.Rejections, func(r models.Rejection) bool { return r.Code.Lasting() })
	})
}

// passesAlone tells whether some agent may take the session later without
// anybody giving it back.
func passesAlone(verdicts []Verdict) bool {
	return slices.ContainsFunc(verdicts, func(v Verdict) bool {
		return !slices.ContainsFunc(v.Rejections, func(r models.Rejection) bool {
			return r.Code.Lasting() || r.Code == models.RejectedCordoned || r.Code == models.RejectedDraining
		})
	})
}
