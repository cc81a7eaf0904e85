package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// AgentFilter restricts a list of agents; an empty field restricts nothing.
type AgentFilter struct {
	Platform, Region, ClusterID, Status string
}

// agentColumns ends with what live sessions take, so that a list with load is
// one query however many agents there are.
const agentColumns = `a.id, a.cluster_id, a.cluster_name, a.platform, a.region, a.home_store, a.status, a.capacity, a.labels, a.metadata,
	a.facilities, a.cordoned, a.drain_deadline, a.drained_by, a.drain_moved, a.drain_hibernated, a.drain_stopped, a.epoch, a.connected, a.last_heartbeat, a.created_at, a.updated_at,
	coalesce(load.sessions, 0), coalesce(load.cpu, 0), coalesce(load.memory, 0), coalesce(load.gpus, 0)`

// reservations sums what live sessions take.
const reservations = `count(*) AS sessions, CAST(sum(reserved_cpu) AS bigint) AS cpu,
	CAST(sum(reserved_memory) AS bigint) AS memory, CAST(sum(gpus) AS bigint) AS gpus`

// live restricts to sessions that hold capacity: see models.SessionState.Live.
const live = `state NOT IN ('terminated', 'failed') AND state <> 'hibernated'`

const agentTables = ` FROM agents a LEFT JOIN (
	SELECT agent_id, ` + reservations + ` FROM sessions WHERE ` + live + ` GROUP BY agent_id
) load ON load.agent_id = a.id`

// oneAgent selects the agent $1, and counts no other's sessions.
const oneAgent = `SELECT ` + agentColumns + ` FROM agents a LEFT JOIN (
	SELECT ` + reservations + ` FROM sessions WHERE agent_id = $1 AND ` + live + `
) load ON true WHERE a.id = $1`

func scanAgent(row scanner) (models.Agent, error) {
	var agent models.Agent
	var drained models.Drained
	err := row.Scan(&agent.ID, &agent.ClusterID, &agent.ClusterName, &agent.Platform, &agent.Region, &agent.HomeStore, &agent.Status,
		jsonColumn{&agent.Capacity}, jsonColumn{&agent.Labels}, jsonColumn{&agent.Metadata}, jsonColumn{&agent.Facilities},
		&agent.Cordoned, optionalTime{&agent.DrainDeadline}, text(&agent.DrainedBy), &drained.Moved, &drained.Hibernated, &drained.Stopped, &agent.Epoch, &agent.Connected, optionalTime{&agent.LastHeartbeat},
		timeColumn{&agent.CreatedAt}, timeColumn{&agent.UpdatedAt},
		&agent.Sessions, &agent.Reserved.CPU, &agent.Reserved.Memory, &agent.Reserved.GPUs)
	agent.Reserved.Sessions = int64(agent.Sessions)
	if agent.DrainedBy != "" {
		agent.Drained = &drained
	}
	return agent, err
}

// RegisterAgent writes what the agent says of itself. Status and epoch of a
// known agent stay; a new one is offline. What it failed to start is forgotten:
// an agent registers when it begins to run, and may have been mended. created
// tells which it was.
func (d *Database) RegisterAgent(ctx context.Context, agent models.Agent, now time.Time) (stored models.Agent, created bool, err error) {
	capacity, err := asJSON(agent.Capacity)
	if err != nil {
		return stored, false, fmt.Errorf("register agent: %w", err)
	}
	metadata, err := asJSON(agent.Metadata)
	if err != nil {
		return stored, false, fmt.Errorf("register agent: %w", err)
	}
	labels, err := asJSON(agent.Labels)
	if err != nil {
		return stored, false, fmt.Errorf("register agent: %w", err)
	}
	err = d.write(ctx, "register agent", func(ctx context.Context, t *tx) error {
		inserted, err := t.exec(ctx, `INSERT INTO agents
			(id, cluster_id, cluster_name, platform, region, home_store, status, capacity, metadata, labels, created_at, updated_at, tally, epoch)
			VALUES ($1, $2, $3, $4, $5, $6, 'offline', $7, $8, $9, $10, $10, $11, coalesce((SELECT epoch FROM removed_agents WHERE agent_id = $1), 0)) ON CONFLICT (id) DO NOTHING`,
			agent.ID, agent.ClusterID, agent.ClusterName, agent.Platform, agent.Region, agent.HomeStore, capacity, metadata, labels, d.at(now), newStamp())
		if err != nil {
			return err
		}
		created = inserted == 1
		if !created {
			if _, err := t.exec(ctx, `UPDATE agents SET cluster_id = $2, cluster_name = $3, platform = $4, region = $5,
				home_store = $6, capacity = $7, metadata = $8, labels = $9, updated_at = $10 WHERE id = $1`,
				agent.ID, agent.ClusterID, agent.ClusterName, agent.Platform, agent.Region, agent.HomeStore, capacity, metadata, labels, d.at(now)); err != nil {
				return err
			}
			if err := t.forgetBreakers(ctx, agent.ID); err != nil {
				return err
			}
		}
		stored, err = scanAgent(t.row(ctx, oneAgent, agent.ID))
		return err
	})
	return stored, created, err
}

// ConnectAgent issues the epoch of a new connection, always higher than any
// before, and makes an offline agent online. A draining agent stays draining.
// An agent that never registered gives models.CodeAgentUnknown.
func (d *Database) ConnectAgent(ctx context.Context, agentID string, now time.Time) (epoch int64, err error) {
	err = d.write(ctx, "connect agent", func(ctx context.Context, t *tx) error {
		status, before, err := d.lockAgent(ctx, t, agentID)
		if err != nil {
			return err
		}
		epoch = before + 1
		next := status
		if status == models.AgentOffline {
			next = models.AgentOnline
		}
		if _, err := t.exec(ctx, `UPDATE agents SET epoch = $2, status = $3, connected = true, last_heartbeat = $4, updated_at = $4
			WHERE id = $1`,
			agentID, epoch, next, d.at(now)); err != nil {
			return err
		}
		if err := t.sessionsReached(ctx, agentID); err != nil {
			return err
		}
		return d.recordAgent(ctx, t, agentID, status, next, "connected", now)
	})
	return epoch, err
}

// DisconnectAgent makes an online agent offline, if epoch still is its newest;
// it reports whether that was so. A draining agent stays draining.
func (d *Database) DisconnectAgent(ctx context.Context, agentID string, epoch int64, now time.Time) (current bool, err error) {
	err = d.write(ctx, "disconnect agent", func(ctx context.Context, t *tx) error {
		status, newest, err := d.lockAgent(ctx, t, agentID)
		if err != nil || newest != epoch {
			return err
		}
		current = true
		next := status
		if status == models.AgentOnline {
			next = models.AgentOffline
		}
		if _, err := t.exec(ctx, `UPDATE agents SET status = $2, connected = false, updated_at = $3 WHERE id = $1`,
			agentID, next, d.at(now)); err != nil {
			return err
		}
		if err := t.sessionsReached(ctx, agentID); err != nil {
			return err
		}
		return d.recordAgent(ctx, t, agentID, status, next, "disconnected", now)
	})
	return current, err
}

// Pulse is a heartbeat on one connection.
type Pulse struct {
	AgentID   string
	Epoch     int64
	Heartbeat wire.Heartbeat
	// At is when it came.
	At time.Time
}

// RecordHeartbeats notes signs of life, at most one an agent, in one
// transaction, and gives the agents whose epoch still is their newest; for the
// others nothing is written. Draining is never ended by a heartbeat.
func (d *Database) RecordHeartbeats(ctx context.Context, pulses []Pulse) (current map[string]bool, err error) {
	byAgent := make(map[string]Pulse, len(pulses))
	ids := make([]string, 0, len(pulses))
	for _, pulse := range pulses {
		byAgent[pulse.AgentID] = pulse
		ids = append(ids, pulse.AgentID)
	}
	type locked struct {
		id, status string
		epoch      int64
		connected  bool
	}
	err = d.write(ctx, "record heartbeats", func(ctx context.Context, t *tx) error {
		current = make(map[string]bool, len(pulses))
		agents, err := queryIn(ctx, t, "SELECT id, status, epoch, connected FROM agents WHERE %s ORDER BY id"+d.forUpdate(), "id", ids,
			func(row scanner) (a locked, err error) { return a, row.Scan(&a.id, &a.status, &a.epoch, &a.connected) })
		if err != nil {
			return err
		}
		rows := &batch{columns: []batchColumn{{"id", "text"}, {"status", "text"}, {"capacity", "text"}, {"at", "timestamptz"}}}
		var events []models.Event
		for _, agent := range agents {
			pulse := byAgent[agent.id]
			if agent.epoch != pulse.Epoch {
				continue
			}
			current[agent.id] = true
			capacity, err := asJSON(pulse.Heartbeat.Capacity)
			if err != nil {
				return err
			}
			next := statusAfter(agent.status, agent.connected, pulse.Heartbeat)
			rows.add(agent.id, next, capacity, d.at(pulse.At))
			if next != agent.status {
				events = append(events, agentEvent(agent.id, agent.status, next, "the agent's heartbeat says so", pulse.At))
			}
		}
		if len(rows.rows) == 0 {
			return nil
		}
		source, args, err := d.source(rows, "u", 1)
		if err != nil {
			return err
		}
		capacity := "u.capacity"
		if d.engine == Postgres {
			capacity += "::jsonb"
		}
		if _, err := t.exec(ctx, `UPDATE agents SET last_heartbeat = u.at, updated_at = u.at, status = u.status,
			capacity = coalesce(`+capacity+`, agents.capacity) FROM `+source+` WHERE agents.id = u.id`, args...); err != nil {
			return err
		}
		return t.recordAll(ctx, events)
	})
	return current, err
}

// statusAfter is what a heartbeat makes of an agent's status. One that is written
// after its connection has ended brings nobody back.
func statusAfter(status string, connected bool, heartbeat wire.Heartbeat) string {
	switch {
	case heartbeat.Status == models.AgentDraining:
		return models.AgentDraining
	case status == models.AgentOffline && connected:
		return models.AgentOnline
	}
	return status
}

// SetFacilities stores what the agent found on its machine; guarded as
// RecordHeartbeat is.
func (d *Database) SetFacilities(ctx context.Context, agentID string, epoch int64, present []string, now time.Time) (current bool, err error) {
	facilities, err := asJSON(present)
	if err != nil {
		return false, fmt.Errorf("set facilities: %w", err)
	}
	err = d.write(ctx, "set facilities", func(ctx context.Context, t *tx) error {
		written, err := t.exec(ctx, `UPDATE agents SET facilities = $3, updated_at = $4 WHERE id = $1 AND epoch = $2`,
			agentID, epoch, facilities, d.at(now))
		current = written == 1
		return err
	})
	return current, err
}

// SetImages stores which images the agent holds, as its metadata "images";
// guarded as RecordHeartbeat is.
func (d *Database) SetImages(ctx context.Context, agentID string, epoch int64, names []string, now time.Time) (current bool, err error) {
	err = d.write(ctx, "set images", func(ctx context.Context, t *tx) error {
		metadata := map[string]any{}
		err := t.row(ctx, `SELECT metadata FROM agents WHERE id = $1 AND epoch = $2`+d.forUpdate(), agentID, epoch).Scan(jsonColumn{&metadata})
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		current = true
		metadata["images"] = append([]string{}, names...)
		encoded, err := asJSON(metadata)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `UPDATE agents SET metadata = $2, updated_at = $3 WHERE id = $1`, agentID, encoded, d.at(now))
		return err
	})
	return current, err
}

// Agent gives one agent with its load, or models.CodeAgentUnknown.
func (d *Database) Agent(ctx context.Context, agentID string) (models.Agent, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	agent, err := scanAgent(d.queryRow(ctx, oneAgent, agentID))
	if errors.Is(err, sql.ErrNoRows) {
		return agent, agentUnknown(agentID)
	}
	if err != nil {
		return agent, fmt.Errorf("read agent: %w", outage(err))
	}
	return agent, nil
}

// Contacts tells of those of the agents that are registered what is known of the
// way to them.
func (d *Database) Contacts(ctx context.Context, agentIDs []string) (map[string]models.Contact, error) {
	if len(agentIDs) == 0 {
		return nil, nil
	}
	condition, arg, err := d.oneOf("id", "$1", agentIDs)
	if err != nil {
		return nil, fmt.Errorf("read contacts of agents: %w", err)
	}
	type row struct {
		id string
		models.Contact
	}
	rows, err := queryAll(ctx, d, "read contacts of agents", func(s scanner) (r row, err error) {
		return r, s.Scan(&r.id, &r.Connected, optionalTime{&r.LastHeartbeat})
	}, `SELECT id, connected, last_heartbeat FROM agents WHERE `+condition, arg)
	contacts := make(map[string]models.Contact, len(rows))
	for _, row := range rows {
		contacts[row.id] = row.Contact
	}
	return contacts, err
}

// sessionsReached notes that what is seen of the agent's sessions has changed.
func (t *tx) sessionsReached(ctx context.Context, agentID string) error {
	ids, err := t.texts(ctx, `SELECT id FROM sessions WHERE agent_id = $1 AND `+live, agentID)
	t.changed = append(t.changed, ids...)
	return err
}

// agentFilter restricts agentTables with the parameters $1 to $4.
const agentFilter = ` WHERE ($1 = '' OR a.platform = $1) AND ($2 = '' OR a.region = $2)
	AND ($3 = '' OR a.cluster_id = $3) AND ($4 = '' OR a.status = $4)`

// Agents lists agents by id, with their load.
func (d *Database) Agents(ctx context.Context, filter AgentFilter, page Page) (agents []models.Agent, next string, err error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	var after string
	if _, err := page.position(&after); err != nil {
		return nil, "", err
	}
	agents, err = queryAll(ctx, d, "list agents", scanAgent, `SELECT `+agentColumns+agentTables+agentFilter+
		` AND a.id > $5 ORDER BY a.id LIMIT $6`,
		filter.Platform, filter.Region, filter.ClusterID, filter.Status, after, limit+1)
	if err != nil {
		return nil, "", err
	}
	return cut(agents, limit, func(agent models.Agent) any { return agent.ID })
}

// Candidates lists every agent that passes the filter with its load, in one
// query. The order means nothing.
func (d *Database) Candidates(ctx context.Context, filter AgentFilter) ([]models.Agent, error) {
	return queryAll(ctx, d, "list candidates", scanAgent, `SELECT `+agentColumns+agentTables+agentFilter,
		filter.Platform, filter.Region, filter.ClusterID, filter.Status)
}

// AgentsHeard gives when each agent was last heard of, of those that were heard
// of since the time given.
func (d *Database) AgentsHeard(ctx context.Context, since time.Time) ([]time.Time, error) {
	return queryAll(ctx, d, "list when agents were heard of", func(row scanner) (at time.Time, err error) { return at, row.Scan(timeColumn{&at}) },
		`SELECT last_heartbeat FROM agents WHERE last_heartbeat >= $1`, d.at(since))
}

// lockAgent reads what guards an agent's writes, and holds the row on
// PostgreSQL until the transaction ends.
func (d *Database) lockAgent(ctx context.Context, t *tx, agentID string) (status string, epoch int64, err error) {
	err = t.row(ctx, `SELECT status, epoch FROM agents WHERE id = $1`+d.forUpdate(), agentID).Scan(&status, &epoch)
	if errors.Is(err, sql.ErrNoRows) {
		return "", 0, agentUnknown(agentID)
	}
	return status, epoch, err
}

// requireEpoch fails unless epoch is the agent's newest, and holds it so until
// the transaction ends.
func (d *Database) requireEpoch(ctx context.Context, t *tx, agentID string, epoch int64) error {
	_, newest, err := d.lockAgent(ctx, t, agentID)
	if err != nil {
		return err
	}
	if newest != epoch {
		return models.Errorf(models.CodeEpochStale,
			"connection %d of agent %q was replaced by connection %d", epoch, agentID, newest)
	}
	return nil
}

func (d *Database) recordAgent(ctx context.Context, t *tx, agentID, from, to, reason string, now time.Time) error {
	if from == to {
		return nil
	}
	return t.record(ctx, agentEvent(agentID, from, to, reason, now))
}

func agentEvent(agentID, from, to, reason string, now time.Time) models.Event {
	return models.Event{Kind: models.EventAgentState, AgentID: agentID, From: from, To: to,
		Actor: "agent:" + agentID, Reason: reason, At: now}
}

func agentUnknown(agentID string) error {
	return models.Errorf(models.CodeAgentUnknown, "there is no agent %q; `streamspace agents list` shows them", agentID)
}
