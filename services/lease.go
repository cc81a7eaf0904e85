package services

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"time"

	"github.com/streamspace/streamspace/db"
)

// DefaultLease is for how long a replica that is not heard of any more keeps
// what is one replica's work from the others.
const DefaultLease = 15 * time.Second

// lease is this replica's part in being the one, of those that share a
// database, that does something. What its holder writes is fenced by the epoch
// of the lease, so a holder that is late changes nothing. Not safe for
// concurrent use.
type lease struct {
	database *db.Database
	name     string
	holder   string
	duration time.Duration
	logger   *slog.Logger
	now      func() time.Time

	held db.Lease
	// seen is another one's lease, and seenAt since when it has not changed, by
	// the clock that nobody sets.
	seen   db.Lease
	seenAt time.Time
	// trusted is until when this replica believes that it is the holder: it counts
	// from when it began to ask, and leaves a fifth for clocks that differ.
	trusted time.Time
	// answered is when the database last said whose the lease is, or this replica
	// began; asked is the same by the clock that nobody sets.
	answered, asked time.Time
}

// replicaName is a name of this process that nobody else has.
func replicaName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "replica"
	}
	return host + "-" + rand.Text()[:6]
}

// tenure is what asking for a lease gave.
type tenure struct {
	// asked is when this replica asked. What it decides as the holder, it decides as
	// of then: between that and now it may have been suspended.
	asked time.Time
	// holds tells that this replica is the holder, and taken that it was not
	// before.
	holds, taken bool
	// away is for how long this replica did not know whose the lease is, if that
	// was longer than a lease lasts: it was suspended, or cut off from its
	// database.
	away time.Duration
}

// keep renews the lease or tries to take it.
func (l *lease) keep(ctx context.Context) (tenure, error) {
	asked, began := l.now(), time.Now()
	claim := db.Claim{Name: l.name, Holder: l.holder, Epoch: l.held.Epoch, Duration: l.duration}
	if time.Since(l.seenAt) >= l.duration {
		claim.Overdue = l.seen
	}
	got, held, err := l.database.AcquireLease(ctx, claim, asked)
	if err != nil {
		return tenure{asked: asked, holds: l.now().Before(l.trusted)}, err
	}
	result := tenure{asked: asked, taken: held && got.Epoch != l.held.Epoch}
	if away := asked.Sub(l.answered); away > l.duration {
		result.away = away
	}
	l.answered, l.asked = asked, began
	if !held {
		if l.held.Epoch != 0 {
			l.logger.Warn("another replica has taken over", "lease", l.name, "holder", got.Holder, "epoch", got.Epoch)
		}
		l.held, l.trusted = db.Lease{}, time.Time{}
		if got.Epoch != l.seen.Epoch || !got.ExpiresAt.Equal(l.seen.ExpiresAt) {
			l.seen, l.seenAt = got, time.Now()
		}
		return result, nil
	}
	l.held, l.trusted, l.seen = got, asked.Add(l.duration-l.duration/5), db.Lease{}
	result.holds = l.now().Before(l.trusted)
	if result.taken {
		l.logger.Info("this replica has taken over", "lease", l.name, "epoch", got.Epoch)
	}
	return result, nil
}

// due tells whether a third of the lease is over, and it is to be renewed.
func (l *lease) due() bool { return time.Since(l.asked) >= l.duration/3 }

// release gives the lease up, for another replica to take at once.
func (l *lease) release(ctx context.Context) {
	if l.held.Epoch == 0 {
		return
	}
	if err := l.database.ReleaseLease(ctx, l.held.Fence(), l.now()); err != nil {
		l.logger.Warn("a lease is not given up, and ends by itself", "lease", l.name, "error", err)
	}
	l.held, l.trusted = db.Lease{}, time.Time{}
}
