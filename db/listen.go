package db

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/stdlib"
)

// commandChannel is the PostgreSQL channel on which replicas tell each other of
// new commands.
const commandChannel = "streamspace_commands"

// maxNotice bounds a notification's text, in bytes: PostgreSQL takes less than
// 8,000 (postgresql.org/docs/current/sql-notify.html).
const maxNotice = 7500

// notice lists the agents, or says nothing, which stands for any of them.
func notice(agentIDs []string) string {
	text := strings.Join(agentIDs, "\n")
	if len(text) > maxNotice {
		return ""
	}
	return text
}

// Notify tells every replica that listens that these agents have new commands.
// It is a hint. SQLite has one replica, which knows.
func (d *Database) Notify(ctx context.Context, agentIDs []string) error {
	if d.engine != Postgres || len(agentIDs) == 0 {
		return nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if _, err := d.handle.ExecContext(ctx, `SELECT pg_notify($1, $2)`, commandChannel, notice(agentIDs)); err != nil {
		return fmt.Errorf("notify replicas: %w", err)
	}
	return nil
}

// Listen calls heard with the agents of each Notify, of this replica's own too,
// until ctx ends or the connection breaks; no agents stand for any of them. It
// takes one connection of the pool. ready is called once nothing is missed any
// more. On SQLite it only waits for ctx.
func (d *Database) Listen(ctx context.Context, ready func(), heard func(agentIDs []string)) error {
	if d.engine != Postgres {
		ready()
		<-ctx.Done()
		return ctx.Err()
	}
	pooled, err := d.handle.Conn(ctx)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer func() { _ = pooled.Close() }()
	err = pooled.Raw(func(raw any) error {
		conn := raw.(*stdlib.Conn).Conn()
		// The connection is given up with the subscription that it has.
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		if _, err := conn.Exec(ctx, "LISTEN "+commandChannel); err != nil {
			return err
		}
		ready()
		for {
			notification, err := conn.WaitForNotification(ctx)
			if err != nil {
				return err
			}
			var agents []string
			if notification.Payload != "" {
				agents = strings.Split(notification.Payload, "\n")
			}
			heard(agents)
		}
	})
	return fmt.Errorf("listen: %w", err)
}
