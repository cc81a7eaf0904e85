package services

import (
	"context"
	"fmt"
	"time"
)

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

// Status gives who reconciles, on whichever replica, and what is stuck. It works
// whether or not the loop runs.
func (r *SessionReconciler) Status(ctx context.Context) (ReconcilerStatus, error) {
	now := r.options.Now()
	counts, err := r.database.CountStuck(ctx, r.before(now))
	if err != nil {
		return ReconcilerStatus{}, fmt.Errorf("reconciler status: %w", err)
	}
	status := ReconcilerStatus{Stuck: make(map[string]int, len(counts))}
	for state, count := range counts {
		status.Stuck[string(state)] = count
	}
	held, known, err := r.database.Lease(ctx, reconcilerLease)
	if err != nil {
		return ReconcilerStatus{}, fmt.Errorf("reconciler status: %w", err)
	}
	if known {
		status.Epoch, status.PassedAt, status.Hold, status.HoldSince = held.Epoch, held.WorkedAt, held.Hold, held.HoldSince
		if held.Holder != "" && held.ExpiresAt.After(now) {
			status.Holder, status.ExpiresAt, status.Here = held.Holder, &held.ExpiresAt, held.Holder == r.options.Replica
		}
	}
	return status, nil
}
