package services

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/streamspace/streamspace/models"
)

// noSuitableAgent turns the verdicts on agents of which none is fit into an
// error that a person can act on: how many agents were passed over for which
// main reason, and the one thing to do that is nearest to a fit agent.
func noSuitableAgent(criteria SelectionCriteria, rejected []Verdict) *models.Error {
	if len(rejected) == 0 {
		return &models.Error{Code: models.CodeNoSuitableAgent, Retryable: true,
			Message: "no agent has registered yet; start one with `streamspace agent`"}
	}
	nearest := slices.MinFunc(rejected, func(a, b Verdict) int {
		return cmp.Or(cmp.Compare(b.main().order(), a.main().order()), cmp.Compare(len(a.Rejections), len(b.Rejections)),
			cmp.Compare(len(a.main().Missing), len(b.main().Missing)), cmp.Compare(a.AgentID, b.AgentID))
	})
	return &models.Error{Code: models.CodeNoSuitableAgent, Retryable: passesAlone(rejected),
		Message: reasons(criteria, rejected) + "; " + advice(criteria, nearest)}
}

// reason is a rejection, for the words that are made of it.
type reason models.Rejection

// main is the reason that is told when only one is.
func (v Verdict) main() reason { return reason(v.Rejections[0]) }

// order is the place of the reason's code among all.
func (r reason) order() int { return slices.Index(models.RejectionCodes(), r.Code) }

// reasons says in words why every one of the agents was passed over: of a
// single one everything, of several the main reasons.
func reasons(criteria SelectionCriteria, rejected []Verdict) string {
	if len(rejected) == 1 {
		var details []string
		for _, rejection := range rejected[0].Rejections {
			details = append(details, rejection.Detail)
		}
		return fmt.Sprintf("the only agent, %q, %s", rejected[0].AgentID, strings.Join(details, ", and "))
	}
	mains := make([]reason, 0, len(rejected))
	for _, v := range rejected {
		mains = append(mains, v.main())
	}
	slices.SortFunc(mains, func(a, b reason) int {
		return cmp.Or(cmp.Compare(a.order(), b.order()), cmp.Compare(a.Detail, b.Detail))
	})
	var parts []string
	for len(mains) > 0 {
		alike := slices.IndexFunc(mains, func(r reason) bool { return !r.like(mains[0]) })
		if alike < 0 {
			alike = len(mains)
		}
		parts = append(parts, phrase(criteria, mains[:alike]))
		mains = mains[alike:]
	}
	return fmt.Sprintf("none of %d agents can take this session: %s", len(rejected), strings.Join(parts, ", "))
}

// like tells whether two reasons are counted together. What is missing differs
// from agent to agent and is put together.
func (r reason) like(other reason) bool {
	return r.Code == other.Code && (len(r.Missing) > 0 || r.Detail == other.Detail)
}

// phrase says a reason of several agents, with their number.
func phrase(criteria SelectionCriteria, alike []reason) string {
	var missing []string
	for _, r := range alike {
		for _, name := range r.Missing {
			if !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
		}
	}
	detail := alike[0].Detail
	switch alike[0].Code {
	case models.RejectedNeeds:
		var commands []string
		for _, need := range pick(criteria.Needs, missing) {
			commands = append(commands, need.Command)
		}
		detail = "lacks " + strings.Join(commands, ", ")
	case models.RejectedSize:
		detail = fmt.Sprintf("is too small (%s)", strings.Join(missing, ", "))
	case models.RejectedFull:
		detail = "is full"
		if !alike[0].onlySessions() || len(missing) > 1 {
			detail = fmt.Sprintf("is full (%s)", strings.Join(missing, ", "))
		}
	}
	if len(alike) > 1 {
		detail = plural(detail)
	}
	return fmt.Sprintf("%d %s", len(alike), detail)
}

// plural makes what follows one agent follow several. Details begin with a verb.
func plural(detail string) string {
	for _, form := range [][2]string{{"is", "are"}, {"has", "have"}, {"does", "do"}, {"lacks", "lack"}, {"keeps", "keep"}} {
		if rest, found := strings.CutPrefix(detail, form[0]+" "); found {
			return form[1] + " " + rest
		}
	}
	return detail
}

// onlySessions tells that the agent is full only by the number of its sessions.
func (r reason) onlySessions() bool { return slices.Equal(r.Missing, []string{"sessions"}) }

func advice(criteria SelectionCriteria, nearest Verdict) string {
	switch main := nearest.main(); main.Code {
	case models.RejectedPlatform:
		return "start an agent of that platform"
	case models.RejectedCluster:
		return "choose another cluster, or start an agent there"
	case models.RejectedRegion:
		return "choose another region, or start an agent there"
	case models.RejectedLabels:
		return "choose other labels, or start an agent that has these"
	case models.RejectedSize:
		return "ask for less, or start a larger agent"
	case models.RejectedNeeds:
		var install []string
		for _, need := range pick(criteria.Needs, main.Missing) {
			if need.Install == "" {
				install = append(install, need.Command)
			} else {
				install = append(install, fmt.Sprintf("%s (%s)", need.Command, need.Install))
			}
		}
		return fmt.Sprintf("install on the machine of agent %q: %s", nearest.AgentID, strings.Join(install, ", "))
	case models.RejectedAvoided:
		return fmt.Sprintf("see why the session failed to start on agent %q, or start another agent", nearest.AgentID)
	case models.RejectedCordoned:
		return fmt.Sprintf("uncordon agent %q, or start another agent", nearest.AgentID)
	case models.RejectedDraining:
		return "start another agent"
	case models.RejectedOffline, models.RejectedUnlinked, models.RejectedSilent:
		return "see that the agent runs and reaches the control plane, then try again"
	case models.RejectedFailing:
		return fmt.Sprintf("see why sessions fail to start on agent %q, then try again", nearest.AgentID)
	case models.RejectedFull:
		if !main.onlySessions() {
			return "ask for less, stop a session, or start another agent"
		}
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
