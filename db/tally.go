package db

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/streamspace/streamspace/models"
)

// talliesKept bounds the agents whose sums are remembered. Those of more are
// summed up again.
const talliesKept = 100_000

// tally is what is reserved of an agent.
type tally struct {
	// stamp is a number drawn at random by the transaction that reserved last.
	// While the agent's row has it, what is reserved can only have become less.
	stamp    int64
	reserved models.Amount
}

// tallies remembers what is reserved of agents, so that a launch need not sum up
// the sessions of every agent that it uses, which are thousands on a busy fleet.
// Capacity is counted from the sessions' rows all the same: this holds sums of
// them, each good for as long as nobody has reserved more. Safe for concurrent
// use.
type tallies struct {
	mu      sync.Mutex
	byAgent map[string]tally
}

// known gives the tally of an agent whose row has the stamp.
func (t *tallies) known(agentID string, stamp int64) (tally, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one, found := t.byAgent[agentID]
	return one, found && one.stamp == stamp
}

// remember may be told before its transaction has committed: if that fails, the
// stamp is never seen in a row.
func (t *tallies) remember(fresh map[string]tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byAgent == nil || len(t.byAgent)+len(fresh) > talliesKept {
		t.byAgent = map[string]tally{}
	}
	maps.Copy(t.byAgent, fresh)
}

// newStamp is one that no row had before.
func newStamp() int64 { return rand.Int64() }

// lockAgents reads the agents, and keeps others from reserving there until the
// transaction ends. What is reserved of those whose ids it gives besides is not known.
func (l *launcher) lockAgents(ctx context.Context) (unknown []string, err error) {
	var ids []string
	for _, launch := range l.launches {
		if launch.Session.AgentID != "" {
			ids = append(ids, launch.Session.AgentID)
		}
	}
	lock := ""
	if l.database.engine == Postgres {
		lock = " FOR UPDATE OF a"
	}
	// A row that was waited for is read as it is then.
	rows, err := queryIn(ctx, l.tx, "SELECT "+agentColumns+`, a.tally FROM agents a
		CROSS JOIN (SELECT 0 AS sessions, 0 AS cpu, 0 AS memory, 0 AS gpus) load WHERE %s ORDER BY a.id`+lock, "a.id", ids, scanTallied)
	l.agents, l.stamps = make(map[string]models.Agent, len(rows)), make(map[string]int64, len(rows))
	for _, row := range rows {
		agent := row.agent
		one, known := l.database.tallies.known(agent.ID, row.stamp)
		if known {
			agent = holding(agent, one.reserved)
		} else {
			unknown = append(unknown, agent.ID)
		}
		l.agents[agent.ID], l.stamps[agent.ID] = agent, row.stamp
	}
	return unknown, err
}

type tallied struct {
	agent models.Agent
	stamp int64
}

func scanTallied(row scanner) (one tallied, err error) {
	one.agent, err = scanAgent(appended{row, &one.stamp})
	return one, err
}

// appended is a row with one more column.
type appended struct {
	scanner
	last any
}

func (a appended) Scan(targets ...any) error { return a.scanner.Scan(append(targets, a.last)...) }

// sumUp counts what live sessions take of locked agents. It is a statement of
// its own: what others have committed while the agents were waited for counts.
func (l *launcher) sumUp(ctx context.Context, agentIDs []string) error {
	type sum struct {
		agentID  string
		reserved models.Amount
	}
	sums, err := queryIn(ctx, l.tx, `SELECT agent_id, `+reservations+` FROM sessions WHERE %s AND `+live+` GROUP BY agent_id`,
		"agent_id", agentIDs, func(row scanner) (one sum, err error) {
			return one, row.Scan(&one.agentID, &one.reserved.Sessions, &one.reserved.CPU, &one.reserved.Memory, &one.reserved.GPUs)
		})
	if err != nil {
		return fmt.Errorf("sum up what is reserved: %w", err)
	}
	for _, id := range agentIDs {
		l.agents[id] = holding(l.agents[id], models.Amount{})
	}
	for _, one := range sums {
		l.agents[one.agentID] = holding(l.agents[one.agentID], one.reserved)
	}
	return nil
}

func holding(agent models.Agent, reserved models.Amount) models.Agent {
	agent.Sessions, agent.Reserved = int(reserved.Sessions), reserved
	return agent
}

// stamp marks the agents that more is reserved of, and remembers of all how much
// that is.
func (l *launcher) stamp(ctx context.Context) error {
	fresh := make(map[string]tally, len(l.agents))
	for id, agent := range l.agents {
		fresh[id] = tally{stamp: l.stamps[id], reserved: agent.Reserved}
	}
	if len(l.raised) > 0 {
		stamp := newStamp()
		for id := range l.raised {
			fresh[id] = tally{stamp: stamp, reserved: l.agents[id].Reserved}
		}
		among, arg, err := l.database.oneOf("id", "$2", slices.Sorted(maps.Keys(l.raised)))
		if err != nil {
			return err
		}
		if _, err := l.exec(ctx, "UPDATE agents SET tally = $1 WHERE "+among, stamp, arg); err != nil {
			return fmt.Errorf("mark agents: %w", err)
		}
	}
	l.database.tallies.remember(fresh)
	return nil
}
