package services

import (
	"context"
	"fmt"

	"github.com/streamspace/streamspace/models"
)

// Status gives who reconciles, on whichever replica, and what is stuck. It works
// whether or not the loop runs.
func (r *SessionReconciler) Status(ctx context.Context) (models.ReconcilerStatus, error) {
	now := r.options.Now()
	counts, err := r.database.CountStuck(ctx, r.before(now))
	if err != nil {
		return models.ReconcilerStatus{}, fmt.Errorf("reconciler status: %w", err)
	}
	status := models.ReconcilerStatus{Stuck: make(map[string]int, len(counts))}
	for state, count := range counts {
		status.Stuck[string(state)] = count
	}
	held, known, err := r.database.Lease(ctx, reconcilerLease)
	if err != nil {
		return models.ReconcilerStatus{}, fmt.Errorf("reconciler status: %w", err)
	}
	if known {
		status.Epoch, status.PassedAt, status.Hold, status.HoldSince = held.Epoch, held.WorkedAt, held.Hold, held.HoldSince
		if held.Holder != "" && held.ExpiresAt.After(now) {
			status.Holder, status.ExpiresAt, status.Here = held.Holder, &held.ExpiresAt, held.Holder == r.options.Replica
		}
	}
	return status, nil
}
