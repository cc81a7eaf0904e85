package services

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/streamspace/streamspace/models"
)

// candidate is an agent and whether it is connected to this replica.
type candidate struct {
	models.Agent
	connected bool
}

// unfitness is why an agent cannot take a session, in the order in which the
// reasons are looked at: the earlier ones stay true however long one waits.
type unfitness int

const (
	fit unfitness = iota
	wrongPlatform
	wrongCluster
	wrongRegion
	draining
	offline
	notConnected
	silent
	lacking
	full
)

// refusal is why one agent was passed over.
type refusal struct {
	agentID string
	why     unfitness
	// missing are the needs that the agent lacks.
	missing []string
}

// rank orders the fit candidates, best first, and says of each other one why
// it is not fit. It is a pure function: the order of candidates means nothing,
// and heartbeats older than since are not recent.
func rank(candidates []candidate, criteria SelectionCriteria, since time.Time) (best []candidate, refusals []refusal) {
	for _, c := range candidates {
		if why, missing := c.unfit(criteria, since); why != fit {
			refusals = append(refusals, refusal{agentID: c.ID, why: why, missing: missing})
		} else {
			best = append(best, c)
		}
	}
	slices.SortFunc(best, func(a, b candidate) int {
		if !criteria.IgnoreLoad && a.Sessions != b.Sessions {
			return cmp.Compare(a.Sessions, b.Sessions)
		}
		return cmp.Or(cmp.Compare(tie(criteria.SessionID, a.ID), tie(criteria.SessionID, b.ID)), cmp.Compare(a.ID, b.ID))
	})
	return best, refusals
}

// tie orders agents that are equally good, differently for each session.
func tie(sessionID, agentID string) uint64 {
	sum := sha256.Sum256([]byte(sessionID + "\x00" + agentID))
	return binary.BigEndian.Uint64(sum[:8])
}

func (c candidate) unfit(criteria SelectionCriteria, since time.Time) (why unfitness, missing []string) {
	switch {
	case criteria.Platform != "" && c.Platform != criteria.Platform,
		len(criteria.Platforms) > 0 && !slices.Contains(criteria.Platforms, c.Platform):
		return wrongPlatform, nil
	case criteria.ClusterID != "" && c.ClusterID != criteria.ClusterID:
		return wrongCluster, nil
	case criteria.Region != "" && c.Region != criteria.Region:
		return wrongRegion, nil
	case c.Status == models.AgentDraining:
		return draining, nil
	case c.Status != models.AgentOnline:
		return offline, nil
	case !c.connected && !criteria.AllowDisconnected:
		return notConnected, nil
	case c.LastHeartbeat == nil || c.LastHeartbeat.Before(since):
		return silent, nil
	}
	if c.Platform == models.PlatformProcess {
		if missing := c.Lacks(commandsOf(criteria.Needs)); len(missing) > 0 {
			return lacking, missing
		}
	}
	if limit := c.Limit().Sessions; limit != models.Unlimited && int64(c.Sessions) >= limit {
		return full, nil
	}
	return fit, nil
}

func commandsOf(needs []models.Need) []string {
	commands := make([]string, 0, len(needs))
	for _, need := range needs {
		commands = append(commands, need.Command)
	}
	return commands
}
