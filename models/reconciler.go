package models

import "time"

// ReconcilerStatus says who reconciles sessions and what is stuck.
type ReconcilerStatus struct {
	// Holder is the replica that reconciles; empty when none does just now.
	Holder string `json:"holder,omitempty" doc:"the replica that reconciles; none when its lease has expired and no other one has taken it yet"`
	// Here tells that it is the one that was asked.
	Here bool `json:"here" doc:"whether that is the replica that answers"`
	// Epoch rises with every new holder.
	Epoch     int64      `json:"epoch" doc:"rises with every new holder"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty" doc:"when the holder's lease ends unless it is renewed"`
	PassedAt  *time.Time `json:"passedAt,omitempty" doc:"when all sessions were last looked at"`
	// Hold says why no agent is taken for gone for now; empty when nothing holds.
	Hold      string     `json:"hold,omitempty" doc:"why no agent is taken for gone for now, in words"`
	HoldSince *time.Time `json:"holdSince,omitempty"`
	// Stuck counts the stuck sessions, by state.
	Stuck map[string]int `json:"stuck" doc:"sessions that have been too long in a passing state, by state"`
}
