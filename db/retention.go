package db

import (
	"context"
	"time"

	"github.com/streamspace/streamspace/models"
)

const (
	// retentionPage bounds the rows that one transaction of
	// DeleteFinishedCommands looks at, and so deletes.
	retentionPage = 1000
	// expiredMemory is how long tickets and tokens are remembered after they
	// expired, so that a ticket's holder is told why it no longer opens anything,
	// and since the clocks of replicas differ.
	expiredMemory = 10 * time.Minute
)

// forgetExpired deletes some rows that expired long before now. Whoever writes
// one row has up to ten deleted, so they do not pile up.
func (t *tx) forgetExpired(ctx context.Context, table string, now time.Time) error {
	lock := t.database.forUpdate()
	if lock != "" {
		lock += " SKIP LOCKED" // others who write at the same time delete them, in any order
	}
	_, err := t.exec(ctx, `DELETE FROM `+table+` WHERE hash IN
		(SELECT hash FROM `+table+` WHERE expires_at < $1 ORDER BY expires_at LIMIT 10`+lock+`)`,
		t.database.at(now.Add(-expiredMemory)))
	return err
}

// DeleteFinishedCommands deletes some commands that ended before the given
// time, and gives how many, and the place to go on from: 0 when there are no
// older ones. It walks in the order of creation, a bounded piece a call, so that
// no index has to be kept for it and no call holds much.
func (d *Database) DeleteFinishedCommands(ctx context.Context, before time.Time, after int64) (deleted int, next int64, err error) {
	type row struct {
		seq     int64
		over    bool
		created time.Time
	}
	err = d.write(ctx, "delete finished commands", func(ctx context.Context, t *tx) error {
		rows, err := t.QueryContext(ctx, d.dialect(`SELECT seq, status IN ('completed', 'failed') AND completed_at < $1, created_at
			FROM agent_commands WHERE seq > $2 ORDER BY seq LIMIT $3`), d.at(before), after, retentionPage)
		if err != nil {
			return err
		}
		defer rows.Close() // read to its end below, so that the connection is free
		over := &batch{columns: []batchColumn{{"seq", "bigint"}}}
		var last row
		count := 0
		for ; rows.Next(); count++ {
			last = row{}
			if err := rows.Scan(&last.seq, &last.over, timeColumn{&last.created}); err != nil {
				return err
			}
			if last.over {
				over.add(last.seq)
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		if count == retentionPage && last.created.Before(before) {
			next = last.seq
		}
		if deleted = len(over.rows); deleted == 0 {
			return nil
		}
		source, args, err := d.source(over, "u", 1)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `DELETE FROM agent_commands WHERE seq IN (SELECT seq FROM `+source+`) AND status IN (`+
			quoted([]string{models.CommandCompleted, models.CommandFailed})+`)`, args...)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	return deleted, next, nil
}
