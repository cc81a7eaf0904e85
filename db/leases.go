package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/streamspace/streamspace/models"
)

// Lease is a right that one replica has for as long as it renews it.
type Lease struct {
	Name, Holder string
	// Epoch rises with every new holder.
	Epoch int64
	// ExpiresAt is when it ends unless it is renewed, by its holder's clock.
	ExpiresAt time.Time
	// WorkedAt is when its holder last did what it is for; nil is never.
	WorkedAt *time.Time
	// Hold says in words what the holder does not do for now, and why; HoldSince
	// is from when on.
	Hold      string
	HoldSince *time.Time
}

// Fence is the lease that a write is only right under. The zero value fences
// nothing.
type Fence struct {
	Lease string
	Epoch int64
}

// Fence guards what the holder writes.
func (l Lease) Fence() Fence { return Fence{Lease: l.Name, Epoch: l.Epoch} }

const leaseColumns = "name, holder, epoch, expires_at, worked_at, hold, hold_since"

func scanLease(row scanner) (l Lease, err error) {
	return l, row.Scan(&l.Name, &l.Holder, &l.Epoch, timeColumn{&l.ExpiresAt}, optionalTime{&l.WorkedAt}, &l.Hold, optionalTime{&l.HoldSince})
}

// Claim asks for a lease.
type Claim struct {
	Name, Holder string
	// Epoch is that of the lease that the holder has; 0 is none, also when an
	// earlier process of the same name has one.
	Epoch int64
	// Duration is for how long.
	Duration time.Duration
	// Overdue is somebody's lease that the claimant has seen unchanged for as long
	// as one lasts, and so has expired. What its holder's clock made of it says
	// nothing: replicas' clocks differ.
	Overdue Lease
}

// AcquireLease renews the claimant's lease, or takes one that nobody else has
// any more, in the next epoch. held tells whether the lease that is given is the
// claimant's now.
func (d *Database) AcquireLease(ctx context.Context, claim Claim, now time.Time) (lease Lease, held bool, err error) {
	err = d.write(ctx, "acquire lease", func(ctx context.Context, t *tx) error {
		if _, err := t.exec(ctx, `INSERT INTO leases (name, holder, epoch, expires_at) VALUES ($1, '', 0, $2) ON CONFLICT (name) DO NOTHING`,
			claim.Name, d.at(now)); err != nil {
			return err
		}
		if lease, err = scanLease(t.row(ctx, "SELECT "+leaseColumns+" FROM leases WHERE name = $1"+d.forUpdate(), claim.Name)); err != nil {
			return err
		}
		expired := lease.Holder == "" || lease.Epoch == claim.Overdue.Epoch && lease.ExpiresAt.Equal(claim.Overdue.ExpiresAt)
		if held = lease.Holder == claim.Holder || expired; !held {
			return nil
		}
		if lease.Holder != claim.Holder || lease.Epoch != claim.Epoch {
			lease = Lease{Name: claim.Name, Holder: claim.Holder, Epoch: lease.Epoch + 1, WorkedAt: lease.WorkedAt}
		}
		lease.ExpiresAt = now.Add(claim.Duration).UTC().Truncate(time.Microsecond)
		_, err := t.exec(ctx, `UPDATE leases SET holder = $2, epoch = $3, expires_at = $4, hold = $5, hold_since = $6 WHERE name = $1`,
			lease.Name, lease.Holder, lease.Epoch, d.at(lease.ExpiresAt), lease.Hold, d.atOptional(lease.HoldSince))
		return err
	})
	return lease, held && err == nil, err
}

// ReleaseLease gives up a lease, for another replica to take at once. One that
// somebody else has taken stays as it is.
func (d *Database) ReleaseLease(ctx context.Context, fence Fence, now time.Time) error {
	return d.write(ctx, "release lease", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, "UPDATE leases SET holder = '', expires_at = $3 WHERE name = $1 AND epoch = $2", fence.Lease, fence.Epoch, d.at(now))
		return err
	})
}

// NoteWork notes that a lease's holder has worked now, and what it holds back.
// A lease that was taken by another replica gives models.CodeLeaseLost.
func (d *Database) NoteWork(ctx context.Context, fence Fence, hold string, now time.Time) error {
	return d.write(ctx, "note work", func(ctx context.Context, t *tx) error {
		written, err := t.exec(ctx, `UPDATE leases SET worked_at = $3, hold = $4,
			hold_since = CASE WHEN CAST($4 AS text) = '' THEN NULL ELSE coalesce(hold_since, $3) END WHERE name = $1 AND epoch = $2`,
			fence.Lease, fence.Epoch, d.at(now), hold)
		if err == nil && written == 0 {
			err = leaseLost(fence)
		}
		return err
	})
}

// Lease gives a lease, also one that has expired; known is false when nobody
// ever had it.
func (d *Database) Lease(ctx context.Context, name string) (lease Lease, known bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	lease, err = scanLease(d.queryRow(ctx, "SELECT "+leaseColumns+" FROM leases WHERE name = $1", name))
	if errors.Is(err, sql.ErrNoRows) {
		return lease, false, nil
	}
	if err != nil {
		return lease, false, fmt.Errorf("read lease: %w", outage(err))
	}
	return lease, true, nil
}

// requireLease fails with models.CodeLeaseLost unless the fence's epoch is the
// lease's, and keeps it so until the transaction ends.
func (t *tx) requireLease(ctx context.Context, fence Fence) error {
	if fence == (Fence{}) {
		return nil
	}
	lock := ""
	if t.database.engine == Postgres {
		lock = " FOR SHARE"
	}
	var epoch int64
	err := t.row(ctx, "SELECT epoch FROM leases WHERE name = $1"+lock, fence.Lease).Scan(&epoch)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if epoch != fence.Epoch {
		return leaseLost(fence)
	}
	return nil
}

func leaseLost(fence Fence) error {
	return models.Errorf(models.CodeLeaseLost, "another replica has taken over the lease %q of epoch %d", fence.Lease, fence.Epoch)
}
