package models

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Requirements are what an agent must be to get a session. The zero value
// requires nothing but an agent that works.
type Requirements struct {
	// Platforms are those that will do; empty means any.
	Platforms []string `json:"platforms,omitempty"`
	ClusterID string   `json:"clusterId,omitempty"`
	Region    string   `json:"region,omitempty"`
	Labels    Selector `json:"labels,omitempty"`
	// Needs are the commands that an agent of platform process must have. An
	// agent that never said what it has counts as having them.
	Needs []Need `json:"needs,omitempty"`
	// Reserve is what the session takes.
	Reserve Amount `json:"reserve"`
	// Avoid lists agents on which the session has failed to start.
	Avoid []string `json:"avoid,omitempty"`
}

// RejectionCode is the stable name of why an agent does not get a session.
type RejectionCode string

// The rejection codes, in the order in which they are looked at. Those up to
// RejectedNeeds stay however long one waits, as long as the agent is as it is.
const (
	RejectedPlatform  RejectionCode = "wrong_platform"
	RejectedCluster   RejectionCode = "wrong_cluster"
	RejectedRegion    RejectionCode = "wrong_region"
	RejectedLabels    RejectionCode = "labels_differ"
	RejectedSize      RejectionCode = "too_small"
	RejectedNeeds     RejectionCode = "needs_missing"
	RejectedAvoided   RejectionCode = "failed_before"
	RejectedCordoned  RejectionCode = "cordoned"
	RejectedDraining  RejectionCode = "draining"
	RejectedOffline   RejectionCode = "offline"
	RejectedUnlinked  RejectionCode = "not_connected"
	RejectedSilent    RejectionCode = "heartbeat_old"
	RejectedFailing   RejectionCode = "failing"
	RejectedFull      RejectionCode = "full"
	RejectedUnwritten RejectionCode = "lost_race"
)

// Lasting tells whether waiting does not help.
func (c RejectionCode) Lasting() bool {
	switch c {
	case RejectedPlatform, RejectedCluster, RejectedRegion, RejectedLabels, RejectedSize, RejectedNeeds:
		return true
	}
	return false
}

// Rejection is why one agent does not get a session.
type Rejection struct {
	Code RejectionCode `json:"code"`
	// Detail says it in words that follow the agent's name, such as "is full".
	Detail string `json:"detail"`
	// Missing are the needs that the agent lacks, with RejectedNeeds.
	Missing []string `json:"missing,omitempty"`
}

// Sight is what a placer knows of an agent besides what it has said.
type Sight struct {
	// Connected tells that some replica can reach the agent.
	Connected bool
	// Since is the time after which a heartbeat is recent.
	Since time.Time
	// Failing tells that the agent has failed to start this template lately and
	// is not to be tried now.
	Failing bool
}

// Reject gives every reason for which the agent cannot take such a session now;
// none means that it can. The guarded reservation asks the same as ranking.
func (r Requirements) Reject(agent Agent, sight Sight) []Rejection {
	var all []Rejection
	reject := func(code RejectionCode, format string, args ...any) {
		all = append(all, Rejection{Code: code, Detail: fmt.Sprintf(format, args...)})
	}
	limit := agent.Limit()
	if len(r.Platforms) > 0 && !slices.Contains(r.Platforms, agent.Platform) {
		reject(RejectedPlatform, "is not of platform %s", strings.Join(r.Platforms, " or "))
	}
	if r.ClusterID != "" && agent.ClusterID != r.ClusterID {
		reject(RejectedCluster, "is not in cluster %q", r.ClusterID)
	}
	if r.Region != "" && agent.Region != r.Region {
		reject(RejectedRegion, "is not in region %q", r.Region)
	}
	if mismatch := r.Labels.Mismatch(agent.Labels); mismatch != "" {
		reject(RejectedLabels, "has no label with %s", mismatch)
	}
	if !r.Reserve.Within(limit) {
		reject(RejectedSize, "is too small: %s", r.Reserve.excess(limit))
	}
	if missing := r.lacking(agent); len(missing) > 0 {
		all = append(all, Rejection{Code: RejectedNeeds, Detail: "lacks " + strings.Join(missing, ", "), Missing: missing})
	}
	if slices.Contains(r.Avoid, agent.ID) {
		reject(RejectedAvoided, "has failed to start this session")
	}
	if agent.Cordoned {
		reject(RejectedCordoned, "is cordoned")
	}
	switch {
	case agent.Status == AgentDraining:
		reject(RejectedDraining, "is draining")
	case agent.Status != AgentOnline:
		reject(RejectedOffline, "is offline")
	case !sight.Connected:
		reject(RejectedUnlinked, "is not connected")
	case agent.LastHeartbeat == nil || agent.LastHeartbeat.Before(sight.Since):
		reject(RejectedSilent, "is without a recent heartbeat")
	}
	if sight.Failing {
		reject(RejectedFailing, "keeps failing to start this template")
	}
	if after := agent.Reserved.Plus(r.Reserve); r.Reserve.Within(limit) && !after.Within(limit) {
		reject(RejectedFull, "is full: %s", after.excess(limit))
	}
	return all
}

func (r Requirements) lacking(agent Agent) []string {
	if agent.Platform != PlatformProcess {
		return nil
	}
	commands := make([]string, 0, len(r.Needs))
	for _, need := range r.Needs {
		commands = append(commands, need.Command)
	}
	return agent.Lacks(commands)
}

// excess names the parts of an amount that are over a limit.
func (a Amount) excess(limit Amount) string {
	var parts []string
	for _, part := range []struct {
		name          string
		amount, limit int64
		unit          int64
	}{
		{"sessions", a.Sessions, limit.Sessions, 1}, {"cores", a.CPU, limit.CPU, 1000},
		{"MiB of memory", a.Memory, limit.Memory, 1 << 20}, {"GPUs", a.GPUs, limit.GPUs, 1},
	} {
		if part.limit != Unlimited && part.amount > part.limit {
			parts = append(parts, fmt.Sprintf("%s of %s %s", decimal(part.amount, part.unit), decimal(part.limit, part.unit), part.name))
		}
	}
	return strings.Join(parts, ", ")
}

// decimal writes an amount in a unit, with at most two digits after the point.
func decimal(amount, unit int64) string {
	text := fmt.Sprintf("%.2f", float64(amount)/float64(unit))
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}
