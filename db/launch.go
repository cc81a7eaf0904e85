package db

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/streamspace/streamspace/models"
)

// Launch is a session that has found its agent, with the command that starts
// it, or one that is to wait for an agent: then Session.AgentID is empty and
// there is no command.
type Launch struct {
	Session models.Session
	Command models.AgentCommand
	Actor   string
	// Requirements are what the agent must be; what it must have free comes from
	// the session.
	Requirements models.Requirements
	// Waits tells that the session is in the table already and waits for an
	// agent.
	Waits bool
	// Verdicts says of each agent why it was chosen or not; nil keeps what was
	// said before.
	Verdicts json.RawMessage
}

// Launched is what has become of a Launch.
type Launched struct {
	Session models.Session
	// Existed tells that an earlier request has launched the session.
	Existed bool
	// Err says why nothing was written for this launch.
	Err error
}

// LaunchSession is LaunchSessions for one.
func (d *Database) LaunchSession(ctx context.Context, launch Launch, now time.Time) (session models.Session, existed bool, err error) {
	launched, err := d.LaunchSessions(ctx, []Launch{launch}, now)
	if err != nil {
		return models.Session{}, false, err
	}
	return launched[0].Session, launched[0].Existed, launched[0].Err
}

// LaunchSessions writes sessions, reservations, start commands and history of
// many launches in one transaction of a few statements, and answers in their
// order. Each reservation is guarded: the agent must be online, be what is
// required and have room for the session, otherwise models.CodeNoSuitableAgent, and nothing of that launch
// is written. A repeat of the same request gives the existing session; another
// request with its id gives models.CodeSessionConflict. A session that was to
// wait and does not any more gives models.CodeTransitionIllegal.
func (d *Database) LaunchSessions(ctx context.Context, launches []Launch, now time.Time) (launched []Launched, err error) {
	err = d.write(ctx, "launch sessions", func(ctx context.Context, t *tx) error {
		l := launcher{tx: t, launches: launches, launched: make([]Launched, len(launches)), now: now}
		launched = l.launched
		return l.run(ctx)
	})
	return launched, err
}

// launcher is one transaction of LaunchSessions.
type launcher struct {
	*tx
	launches []Launch
	launched []Launched
	now      time.Time

	// agents are those of the launches, with stamps as their tallies have them;
	// raised are those that more is reserved of.
	agents map[string]models.Agent
	stamps map[string]int64
	raised map[string]bool
	known  map[string]models.Session
	// breakers are those of the agents, and probed those that a launch probes.
	breakers, probed map[breakerKey]models.Breaker
}

func (l *launcher) run(ctx context.Context) error {
	unknown, err := l.lockAgents(ctx)
	if err != nil {
		return err
	}
	if err := l.sumUp(ctx, unknown); err != nil {
		return err
	}
	if l.known, err = l.lockSessions(ctx, l.sessionIDs()); err != nil {
		return err
	}
	if err := l.readBreakers(ctx); err != nil {
		return err
	}
	fresh, waited, err := l.reserveAll(ctx, len(unknown) < len(l.agents))
	if err != nil {
		return err
	}
	if fresh, err = l.insertSessions(ctx, fresh); err != nil {
		return err
	}
	if err := l.placeSessions(ctx, waited); err != nil {
		return err
	}
	written := append(fresh, waited...)
	if err := l.insertCommands(ctx, l.commands(written), l.now); err != nil {
		return err
	}
	if err := l.savePlacements(ctx, written); err != nil {
		return err
	}
	if err := l.saveBreakers(ctx, slices.Collect(maps.Values(l.probed))); err != nil {
		return err
	}
	if err := l.stamp(ctx); err != nil {
		return err
	}
	//failpoint:launch-uncommitted
	return l.tell(ctx, written)
}

// reserveAll decides about every launch, and gives those to be written. When one
// finds no room on an agent and some are only remembered, sessions may have
// ended there since: all are summed up, and decided about anew.
func (l *launcher) reserveAll(ctx context.Context, remembered bool) (fresh, waited []int, err error) {
	before := *l
	l.agents, l.known, l.breakers = maps.Clone(l.agents), maps.Clone(l.known), maps.Clone(l.breakers)
	l.raised, l.probed = map[string]bool{}, map[breakerKey]models.Breaker{}
	for i, launch := range l.launches {
		l.launched[i] = l.reserve(launch)
		switch {
		case remembered && models.CodeOf(l.launched[i].Err) == models.CodeNoSuitableAgent:
			l.agents, l.known, l.breakers = before.agents, before.known, before.breakers
			if err := l.sumUp(ctx, slices.Collect(maps.Keys(l.agents))); err != nil {
				return nil, nil, err
			}
			return l.reserveAll(ctx, false)
		case l.launched[i].Err != nil || l.launched[i].Existed:
		case launch.Waits:
			waited = append(waited, i)
		default:
			fresh = append(fresh, i)
			l.known[launch.Session.ID] = launch.Session
		}
	}
	return fresh, waited, nil
}

// readBreakers reads what the agents keep failing at. Their rows are locked, so
// that there is one probe at a time.
func (l *launcher) readBreakers(ctx context.Context) error {
	ids := make([]string, 0, len(l.agents))
	for id := range l.agents {
		ids = append(ids, id)
	}
	l.breakers = map[breakerKey]models.Breaker{}
	breakers, err := queryIn(ctx, l.tx, "SELECT "+breakerColumns+" FROM breakers WHERE %s", "agent_id", ids, scanBreaker)
	for _, breaker := range breakers {
		l.breakers[keyOf(breaker)] = breaker
	}
	return err
}

func (l *launcher) sessionIDs() []string {
	ids := make([]string, 0, len(l.launches))
	for _, launch := range l.launches {
		ids = append(ids, launch.Session.ID)
	}
	return ids
}

// reserve decides about one launch and takes its part of the agent.
func (l *launcher) reserve(launch Launch) Launched {
	existing, known := l.known[launch.Session.ID]
	switch {
	case launch.Waits && !known:
		return Launched{Err: sessionUnknown(launch.Session.ID)}
	case launch.Waits && (!existing.Waiting() || existing.Generation != launch.Session.Generation):
		return Launched{Session: existing, Err: models.Errorf(models.CodeTransitionIllegal, "session %q does not wait for an agent any more", existing.ID)}
	case known && !launch.Waits:
		return repeated(existing, launch.Session)
	case launch.Session.AgentID == "":
		return Launched{}
	}
	agent, known := l.agents[launch.Session.AgentID]
	if !known {
		return Launched{Err: agentUnknown(launch.Session.AgentID)}
	}
	requirements, reserve := launch.Requirements, launch.Session.Resources.Reserves()
	requirements.Reserve = reserve
	breaker := l.breakers[breakerKey{agent.ID, launch.Session.Template}]
	// Who is connected and whose heartbeat is recent, the caller knows.
	for _, rejection := range requirements.Reject(agent, models.Sight{Connected: true, Failing: breaker.Blocks(l.now)}) {
		if rejection.Code != models.RejectedSilent {
			return Launched{Err: &models.Error{Code: models.CodeNoSuitableAgent, Retryable: true,
				Message: fmt.Sprintf("agent %q %s", agent.ID, rejection.Detail)}}
		}
	}
	agent.Reserved = agent.Reserved.Plus(reserve)
	agent.Sessions++
	l.agents[agent.ID], l.raised[agent.ID] = agent, true
	if breaker.Open(l.now) {
		breaker = breaker.Probed(l.now)
		l.breakers[keyOf(breaker)], l.probed[keyOf(breaker)] = breaker, breaker
	}
	return Launched{}
}

// repeated answers a launch whose session is there.
func repeated(existing, wanted models.Session) Launched {
	if existing.RequestHash != wanted.RequestHash || existing.UserID != wanted.UserID {
		return Launched{Err: models.Errorf(models.CodeSessionConflict,
			"the session id %q belongs to another request; choose another id, or none", wanted.ID)}
	}
	return Launched{Session: existing, Existed: true}
}

// insertSessions gives those that it inserted: another transaction may have
// launched the same id in between.
func (l *launcher) insertSessions(ctx context.Context, fresh []int) (inserted []int, err error) {
	if len(fresh) == 0 {
		return nil, nil
	}
	d := l.database
	rows := &batch{columns: []batchColumn{{"id", "text"}, {"name", "text"}, {"user_id", "text"}, {"template", "text"}, {"protocol", "text"},
		{"reason", "text"}, {"reason_code", "text"}, {"agent_id", "text"}, {"cluster_id", "text"}, {"platform", "text"}, {"region", "text"},
		{"cpu", "text"}, {"memory", "text"}, {"gpus", "bigint"}, {"reserved_cpu", "bigint"}, {"reserved_memory", "bigint"},
		{"placement", "text"}, {"priority", "bigint"}, {"wait_until", "timestamptz"}, {"attempts", "bigint"},
		{"spec", "text"}, {"request_hash", "text"}, {"at", "timestamptz"}, {"idle_timeout", "text"}, {"max_duration", "text"}}}
	for _, i := range fresh {
		session := l.launches[i].Session
		spec, err := json.Marshal(session.Spec)
		if err != nil {
			return nil, fmt.Errorf("encode a template: %w", err)
		}
		reserves, attempts := session.Resources.Reserves(), int64(0)
		if session.AgentID != "" {
			attempts = 1
		}
		rows.add(session.ID, session.Name, session.UserID, session.Template, string(session.Protocol), orNull(session.Reason),
			orNull(session.ReasonCode), orNull(session.AgentID), orNull(session.ClusterID), orNull(session.Platform), orNull(session.Region),
			orNull(session.Resources.CPU), orNull(session.Resources.Memory), reserves.GPUs, reserves.CPU, reserves.Memory,
			orNull(string(session.Placement)), session.Priority, d.atOptional(session.WaitUntil), attempts,
			string(spec), session.RequestHash, d.at(l.now), orNull(session.Spec.Spec.IdleTimeout), orNull(session.Spec.Spec.MaxDuration))
	}
	source, args, err := d.source(rows, "u", 1)
	if err != nil {
		return nil, err
	}
	asJSON := ""
	if d.engine == Postgres {
		asJSON = "::jsonb"
	}
	ids, err := l.texts(ctx, `INSERT INTO sessions (id, name, user_id, template, protocol, state, desired_state, generation,
			reason, reason_code, agent_id, cluster_id, platform, region, cpu, memory, gpus, reserved_cpu, reserved_memory,
			placement, priority, wait_until, attempts, spec, request_hash, created_at, updated_at, state_since, idle_timeout, max_duration)
		SELECT u.id, u.name, u.user_id, u.template, u.protocol, 'pending', 'running', 1, u.reason, u.reason_code, u.agent_id,
			u.cluster_id, u.platform, u.region, u.cpu, u.memory, u.gpus, u.reserved_cpu, u.reserved_memory, u.placement`+asJSON+`,
			u.priority, u.wait_until, u.attempts, u.spec`+asJSON+`, u.request_hash, u.at, u.at, u.at, u.idle_timeout, u.max_duration
		FROM `+source+` WHERE true ON CONFLICT (id) DO NOTHING RETURNING id`, args...)
	if err != nil {
		return nil, err
	}
	is := make(map[string]bool, len(ids))
	for _, id := range ids {
		is[id] = true
	}
	var others []string
	for _, i := range fresh {
		if session := l.launches[i].Session; is[session.ID] {
			l.launched[i].Session = begun(session, l.now)
			inserted = append(inserted, i)
		} else {
			others = append(others, session.ID)
		}
	}
	sessions, err := l.lockSessions(ctx, others)
	for _, i := range fresh {
		if session := l.launches[i].Session; !is[session.ID] {
			l.launched[i] = repeated(sessions[session.ID], session)
		}
	}
	return inserted, err
}

// begun is a session as it is when it has been inserted.
func begun(session models.Session, now time.Time) models.Session {
	now = now.UTC().Truncate(time.Microsecond)
	session.State, session.DesiredState, session.Generation = models.SessionPending, models.DesiredRunning, 1
	session.CreatedAt, session.UpdatedAt, session.StateSince = now, now, now
	session.Resources.GPUs = session.Resources.Reserves().GPUs
	session.TimeLimits = session.Spec.Spec.TimeLimits()
	if session.AgentID != "" {
		session.Attempts = 1
	}
	if session.WaitUntil != nil {
		until := session.WaitUntil.UTC().Truncate(time.Microsecond)
		session.WaitUntil = &until
	}
	return session
}

// placeSessions gives sessions that waited their agents. From here on, and not
// from their launch, it counts how long they take to start.
func (l *launcher) placeSessions(ctx context.Context, waited []int) error {
	if len(waited) == 0 {
		return nil
	}
	d := l.database
	rows := &batch{columns: []batchColumn{{"id", "text"}, {"agent_id", "text"}, {"cluster_id", "text"}, {"platform", "text"}, {"region", "text"}}}
	for _, i := range waited {
		session := l.launches[i].Session
		rows.add(session.ID, session.AgentID, orNull(session.ClusterID), orNull(session.Platform), orNull(session.Region))
	}
	source, args, err := d.source(rows, "u", 2)
	if err != nil {
		return err
	}
	placed, err := l.exec(ctx, `UPDATE sessions SET agent_id = u.agent_id, cluster_id = u.cluster_id, platform = u.platform,
		region = u.region, reason = NULL, reason_code = NULL, attempts = attempts + 1, updated_at = $1, state_since = $1
		FROM `+source+` WHERE sessions.id = u.id AND sessions.state = 'pending' AND sessions.agent_id IS NULL`,
		append([]any{d.at(l.now)}, args...)...)
	if err == nil && int(placed) != len(waited) {
		err = models.Errorf(models.CodeTransitionIllegal, "%d of %d waiting sessions changed while they were locked", len(waited)-int(placed), len(waited))
	}
	if err != nil {
		return err
	}
	sessions, err := l.lockSessions(ctx, l.sessionIDs())
	for _, i := range waited {
		l.launched[i].Session = sessions[l.launches[i].Session.ID]
	}
	return err
}

// commands are those that start what was placed.
func (l *launcher) commands(written []int) []models.AgentCommand {
	all := make([]models.AgentCommand, 0, len(written))
	for _, i := range written {
		if command := l.launches[i].Command; command.AgentID != "" {
			all = append(all, command)
		}
	}
	return all
}

// tell writes the history.
func (l *launcher) tell(ctx context.Context, written []int) error {
	events := make([]models.Event, 0, len(written))
	for _, i := range written {
		launch, session := l.launches[i], l.launched[i].Session
		from := models.SessionState("")
		if launch.Waits {
			from = models.SessionPending
			session.Reason = fmt.Sprintf("placed on agent %q", session.AgentID)
		}
		l.sessionChanged(session.ID)
		events = append(events, sessionEvent(session, from, launch.Actor, l.now))
	}
	return l.recordAll(ctx, events)
}
