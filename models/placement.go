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
	// Platform is the one that is asked for, and Platforms are those that will
	// do; an agent must be of both. Empty means any.
	Platform  string   `json:"platform,omitempty"`
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
// RejectedAvoided stay however long one waits, as long as the agent is as it is.
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

// RejectionCodes lists every code, in the order in which they are looked at.
func RejectionCodes() []RejectionCode {
	return []RejectionCode{
		RejectedPlatform, RejectedCluster, RejectedRegion, RejectedLabels, RejectedSize, RejectedNeeds, RejectedAvoided, RejectedCordoned,
		RejectedDraining, RejectedOffline, RejectedUnlinked, RejectedSilent, RejectedFailing, RejectedFull, RejectedUnwritten,
	}
}

// Lasting tells whether waiting does not help.
func (c RejectionCode) Lasting() bool {
	switch c {
	case RejectedPlatform, RejectedCluster, RejectedRegion, RejectedLabels, RejectedSize, RejectedNeeds, RejectedAvoided:
		return true
	}
	return false
}

// Rejection is why one agent does not get a session.
type Rejection struct {
	Code RejectionCode `json:"code"`
	// Detail says it in words that follow the agent's name, such as "is full".
	Detail string `json:"detail"`
	// Missing are the needs that the agent lacks, with RejectedNeeds, or what it
	// has too little of, with RejectedSize and RejectedFull: sessions, cpu,
	// memory or gpus.
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

// Reject gives every reason for which the agent cannot take such a session now,
// in the order of the codes; none means that it can. Of an agent that cannot be
// reached only the first reason for that is given, and one that is too small is
// not called full besides. The guarded reservation asks the same as ranking.
func (r Requirements) Reject(agent Agent, sight Sight) []Rejection {
	return r.RejectWithin(agent, agent.Limit(), sight)
}

// RejectWithin is Reject for whoever has the agent's Limit at hand, which takes
// longer to read than all the rest.
func (r Requirements) RejectWithin(agent Agent, limit Amount, sight Sight) []Rejection {
	var all []Rejection
	reject := func(code RejectionCode, format string, args ...any) {
		all = append(all, Rejection{Code: code, Detail: fmt.Sprintf(format, args...)})
	}
	switch {
	case r.Platform != "" && agent.Platform != r.Platform:
		reject(RejectedPlatform, "is not of platform %s", r.Platform)
	case len(r.Platforms) > 0 && !slices.Contains(r.Platforms, agent.Platform):
		reject(RejectedPlatform, "is not of platform %s", strings.Join(r.Platforms, " or "))
	}
	if r.ClusterID != "" && agent.ClusterID != r.ClusterID {
		reject(RejectedCluster, "is not in cluster %q", r.ClusterID)
	}
	if r.Region != "" && agent.Region != r.Region {
		reject(RejectedRegion, "is not in region %q", r.Region)
	}
	if mismatch := r.Labels.Mismatch(agent.Labels); mismatch != "" {
		reject(RejectedLabels, "does not match the labels %s", mismatch)
	}
	tooSmall := r.Reserve.shortages(limit)
	if len(tooSmall) > 0 {
		all = append(all, Rejection{Code: RejectedSize, Detail: "is too small: " + spell(tooSmall, "there"), Missing: names(tooSmall)})
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
	if agent.Status == AgentDraining {
		reject(RejectedDraining, "is draining")
	}
	switch {
	case agent.Status != AgentOnline && agent.Status != AgentDraining:
		reject(RejectedOffline, "is offline")
	case !sight.Connected:
		reject(RejectedUnlinked, "is not connected")
	case agent.LastHeartbeat == nil || agent.LastHeartbeat.Before(sight.Since):
		reject(RejectedSilent, "is without a recent heartbeat")
	}
	if sight.Failing {
		reject(RejectedFailing, "keeps failing to start this template")
	}
	if short := r.Reserve.shortages(limit.left(agent.Reserved)); len(tooSmall) == 0 && len(short) > 0 {
		detail := "is full"
		if len(short) > 1 || short[0].name != partSessions {
			detail += ": " + spell(short, "free")
		}
		all = append(all, Rejection{Code: RejectedFull, Detail: detail, Missing: names(short)})
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
