package services

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/streamspace/streamspace/models"
)

// errNoAgents is a fleet of which nothing is known, so that nothing says that
// waiting helps.
var errNoAgents = errors.New("there are no agents")

// noSuitableAgent turns refusals into an error that a person can act on: how
// many agents were passed over for which reason, and the one thing to do that
// is nearest to a fit agent.
func noSuitableAgent(criteria SelectionCriteria, refusals []refusal) *models.Error {
	if len(refusals) == 0 {
		return &models.Error{Code: models.CodeNoSuitableAgent, Retryable: true, Err: errNoAgents,
			Message: "no agent has registered yet; start one with `streamspace agent`"}
	}
	nearest := slices.MinFunc(refusals, func(a, b refusal) int {
		return cmp.Or(cmp.Compare(b.why, a.why), cmp.Compare(len(a.missing), len(b.missing)), cmp.Compare(a.agentID, b.agentID))
	})
	return &models.Error{Code: models.CodeNoSuitableAgent, Retryable: nearest.why.passes(),
		Message: reasons(criteria, refusals) + "; " + nearest.advice(criteria)}
}

// reasons says in words why every one of the agents was passed over.
func reasons(criteria SelectionCriteria, refusals []refusal) string {
	if len(refusals) == 1 {
		return fmt.Sprintf("the only agent, %q, %s", refusals[0].agentID,
			refusals[0].why.phrase(1, criteria, refusals[0].missing))
	}
	counts := map[unfitness]int{}
	var missing []string
	for _, refused := range refusals {
		counts[refused.why]++
		missing = append(missing, refused.missing...)
	}
	var parts []string
	for why := wrongPlatform; why <= full; why++ {
		if counts[why] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[why], why.phrase(counts[why], criteria, missing)))
		}
	}
	return fmt.Sprintf("none of %d agents can take this session: %s", len(refusals), strings.Join(parts, ", "))
}

// passes tells whether the reason may go away while one waits.
func (u unfitness) passes() bool {
	return u >= offline && u != lacking
}

func (u unfitness) phrase(count int, criteria SelectionCriteria, missing []string) string {
	is, lacks := "is", "lacks"
	if count != 1 {
		is, lacks = "are", "lack"
	}
	switch u {
	case wrongPlatform:
		platforms := criteria.Platforms
		if criteria.Platform != "" {
			platforms = []string{criteria.Platform}
		}
		return is + " not of platform " + strings.Join(platforms, " or ")
	case wrongCluster:
		return fmt.Sprintf("%s not in cluster %q", is, criteria.ClusterID)
	case wrongRegion:
		return fmt.Sprintf("%s not in region %q", is, criteria.Region)
	case draining:
		return is + " draining"
	case offline:
		return is + " offline"
	case notConnected:
		return is + " not connected"
	case silent:
		return is + " without a recent heartbeat"
	case lacking:
		return lacks + " " + strings.Join(commandsOf(pick(criteria.Needs, missing)), ", ")
	}
	return is + " full"
}

func (r refusal) advice(criteria SelectionCriteria) string {
	switch r.why {
	case wrongPlatform:
		return "start an agent of that platform"
	case wrongCluster:
		return "choose another cluster, or start an agent there"
	case wrongRegion:
		return "choose another region, or start an agent there"
	case draining:
		return "start another agent"
	case offline, notConnected, silent:
		return "see that the agent runs and reaches the control plane, then try again"
	case lacking:
		var install []string
		for _, need := range pick(criteria.Needs, r.missing) {
			if need.Install == "" {
				install = append(install, need.Command)
			} else {
				install = append(install, fmt.Sprintf("%s (%s)", need.Command, need.Install))
			}
		}
		return fmt.Sprintf("install on the machine of agent %q: %s", r.agentID, strings.Join(install, ", "))
	}
	return "stop a session, or start another agent"
}

// pick gives those of needs whose command is among commands, each once.
func pick(needs []models.Need, commands []string) []models.Need {
	var picked []models.Need
	for _, need := range needs {
		if slices.Contains(commands, need.Command) && !slices.ContainsFunc(picked, func(other models.Need) bool {
			return other.Command == need.Command
		}) {
			picked = append(picked, need)
		}
	}
	return picked
}
