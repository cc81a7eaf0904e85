package services

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// order is a command of the model.
type order struct {
	action, agent string
	generation    int64
	open          bool
	sends         int
	// failed is how it ended, which its agent remembers.
	failed bool
}

// model is one session between the decisions of this package and two agents
// that do, or fail to do, what they are told. What transactions write is played
// here as db writes it; everything that is decided is decided by the real
// functions.
type model struct {
	t       *rapid.T
	now     time.Time
	session models.Session
	orders  []order
	// running are the generations that run on each agent, connected those agents
	// that can be reached.
	running   map[string][]int64
	connected map[string]bool
	heard     map[string]time.Time
	// home is the agent that the session last ran on, elsewhere that a person
	// said that it may leave it.
	home      string
	elsewhere bool
	// acts counts what was decided and is no rest.
	acts int
}

func newModel(t *rapid.T) *model {
	m := &model{t: t, now: time.Unix(1_700_000_000, 0).UTC(), running: map[string][]int64{}, connected: map[string]bool{"a": true, "b": true}}
	m.heard = map[string]time.Time{"a": m.now, "b": m.now}
	spec := models.TemplateSpec{PersistentHome: rapid.Bool().Draw(t, "home"),
		OnLost: rapid.SampledFrom([]models.OnLost{"", models.OnLostRestart, models.OnLostRecreate, models.OnLostFail}).Draw(t, "onLost")}
	m.session = models.Session{ID: "s", State: models.SessionPending, DesiredState: models.DesiredRunning, Generation: 1, AgentID: "a",
		StateSince: m.now, Spec: models.Template{Spec: spec}}
	m.command(models.ActionStartSession)
	return m
}

// command writes a command of the session's generation to its agent.
func (m *model) command(action string) {
	m.orders = append(m.orders, order{action: action, agent: m.session.AgentID, generation: m.session.Generation, open: true})
}

// become moves the session, along a legal transition only.
func (m *model) become(state models.SessionState) {
	if state == m.session.State {
		return
	}
	if !m.session.State.CanBecome(state) {
		m.t.Fatalf("a %s session becomes %s", m.session.State, state)
	}
	m.session.State, m.session.StateSince = state, m.now
	m.acts++
	if state == models.SessionTerminated {
		m.session.DesiredState = models.DesiredTerminated
	}
}

// ask is what a person does, as far as it is possible now.
func (m *model) ask(what string) {
	s := &m.session
	switch {
	case what == "stop" && !s.State.Terminal() && s.State != models.SessionTerminating:
		s.Generation, s.DesiredState = s.Generation+1, models.DesiredTerminated
		if s.AgentID == "" || s.State == models.SessionHibernated {
			m.become(models.SessionTerminated)
		} else {
			m.become(models.SessionTerminating)
		}
		if s.AgentID != "" {
			m.command(models.ActionStopSession)
		}
	case what == "hibernate" && s.State == models.SessionRunning && s.Spec.Spec.PersistentHome:
		s.Generation, s.DesiredState = s.Generation+1, models.DesiredHibernated
		m.become(models.SessionHibernating)
		m.command(models.ActionHibernateSession)
	case (what == "wake" && m.connected[s.AgentID] || what == "wake elsewhere") && s.State == models.SessionHibernated:
		s.Generation, s.DesiredState = s.Generation+1, models.DesiredRunning
		if what == "wake elsewhere" {
			m.elsewhere, s.AgentID = true, map[string]string{"a": "b", "b": "a"}[s.AgentID]
		}
		m.become(models.SessionWaking)
		m.command(models.ActionWakeSession)
	}
}

// place gives a session that waits its agent.
func (m *model) place() {
	if !m.session.Waiting() {
		return
	}
	for _, agent := range []string{"b", "a"} {
		if m.connected[agent] && !slices.Contains(m.session.FailedAgents(), agent) {
			m.session.AgentID, m.session.StateSince = agent, m.now
			m.acts++
			m.command(models.ActionStartSession)
			return
		}
	}
	if m.now.After(*m.session.WaitUntil) {
		m.become(models.SessionFailed)
	}
}

// carryOut has the session's agent do its oldest open command. Whether its answer
// comes is another matter; the command comes again if it does not.
func (m *model) carryOut(succeeds, answers bool) {
	i := slices.IndexFunc(m.orders, func(o order) bool { return o.open && m.connected[o.agent] })
	if i < 0 {
		return
	}
	o := &m.orders[i]
	o.sends++
	m.acts++
	if o.sends == 1 {
		o.failed = !succeeds
	}
	succeeds = !o.failed
	overtaken := slices.ContainsFunc(m.orders, func(later order) bool {
		return models.Ends(later.action) && later.agent == o.agent && later.generation >= o.generation && (later.open || later.sends > 0)
	})
	switch {
	case o.sends > 1: // it was done
	case models.Begins(o.action) && overtaken: // the journal, or the lane, forbids it
	case models.Begins(o.action) && succeeds:
		m.start(o.agent, o.generation)
	case models.Begins(o.action): // what fails leaves nothing
		m.end(o.agent, o.generation)
	case succeeds:
		m.end(o.agent, o.generation)
	}
	if !answers {
		return
	}
	o.open = false
	outcome := models.Outcome{Action: o.action, Generation: o.generation, Completed: succeeds || models.Begins(o.action) && overtaken,
		Said: true, Reason: "the disk is full", Code: models.CodeUnavailable, Retryable: true}
	next, changes := outcome.Consequence(m.session)
	if !changes {
		return
	}
	agent := m.session.AgentID
	m.become(next.State)
	if next.Elsewhere {
		m.session.Failures = append(m.session.Failures, models.StartFailure{AgentID: agent})
		until := m.now.Add(models.TryElsewhereFor)
		m.session.AgentID, m.session.Generation, m.session.WaitUntil = "", m.session.Generation+1, &until
	}
}

// start is the effect of a start, where it must be right.
func (m *model) start(agent string, generation int64) {
	for other, generations := range m.running {
		for _, lives := range generations {
			if other != agent || lives != generation {
				m.t.Fatalf("generation %d is started on %s while %d runs on %s", generation, agent, lives, other)
			}
		}
	}
	if m.session.Spec.Spec.PersistentHome && m.home != "" && m.home != agent && !m.elsewhere && m.session.Spec.Spec.WhenLost() != models.OnLostRecreate {
		m.t.Fatalf("the session left its home on %s for %s", m.home, agent)
	}
	m.home, m.running[agent] = agent, []int64{generation}
}

func (m *model) end(agent string, generation int64) {
	m.running[agent] = slices.DeleteFunc(m.running[agent], func(lives int64) bool { return lives <= generation })
}

// inventory has an agent list what it runs, and both do what follows.
func (m *model) inventory(agent string) {
	if !m.connected[agent] {
		return
	}
	m.heard[agent] = m.now
	var items []wire.InventoryItem
	for _, generation := range m.running[agent] {
		items = append(items, wire.InventoryItem{SessionID: "s", Generation: generation, State: "running"})
	}
	var placed []models.Session
	if m.session.AgentID == agent && !m.session.State.Terminal() {
		placed = append(placed, m.session)
	}
	verdicts, absent := compare(placed, items)
	for _, verdict := range verdicts {
		switch verdict.Verdict {
		case wire.VerdictStop:
			m.end(agent, verdict.Generation)
			m.acts++
		case wire.VerdictAdopt:
			m.become(models.SessionRunning)
		}
	}
	if len(absent) == 0 || slices.ContainsFunc(m.orders, func(o order) bool { return o.open }) {
		return
	}
	switch decided := planMissing(m.session, absence(DefaultInventoryGrace), m.now); decided.step {
	case forceEnd:
		m.become(decided.to)
	case restart, recreate:
		m.session.Generation, m.session.Losses = m.session.Generation+1, decided.losses
		m.become(models.SessionPending)
		if decided.step == restart {
			m.command(models.ActionStartSession)
			return
		}
		until := m.now.Add(DefaultWaitFor)
		m.session.AgentID, m.session.WaitUntil = "", &until
	}
}

// reconcile is a pass of the reconciler.
func (m *model) reconcile() {
	s := situation{StuckSession: db.StuckSession{Session: m.session}, connected: m.connected[m.session.AgentID],
		watching: time.Unix(1_700_000_000, 0), now: m.now}
	if m.session.AgentID != "" {
		heard := m.heard[m.session.AgentID]
		s.Agent = &models.Agent{ID: m.session.AgentID, LastHeartbeat: &heard}
	}
	var newest *order
	for i, o := range m.orders {
		if o.open {
			s.Open, s.Tries = &models.AgentCommand{}, s.Tries+o.sends
		} else if o.generation == m.session.Generation {
			s.Tries++
		}
		if o.generation == m.session.Generation {
			newest = &m.orders[i]
		}
	}
	switch decided := plan(s, defaultLimits()); decided.step {
	case forceEnd:
		m.become(decided.to)
		for i := range m.orders {
			m.orders[i].open = false
		}
	case reissue:
		m.acts++
		if s.Open == nil && newest != nil {
			m.command(newest.action)
		}
	}
}

func (m *model) pass(by time.Duration) {
	m.now = m.now.Add(by)
	for agent, is := range m.connected {
		if is {
			m.heard[agent] = m.now
		}
	}
}

// Whatever has happened, once nothing goes wrong any more the session comes
// where it is to be, or has failed, and there it rests. On the way it never runs
// twice, and it leaves its home only when a person or its template says so.
func TestFromEverywhereThereIsAWayToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		agents, mostly := rapid.SampledFrom([]string{"a", "b"}), []bool{true, true, true, false}
		for range 60 {
			switch rapid.SampledFrom([]string{"carry out", "carry out", "carry out", "ask", "lose", "lose", "connection", "inventory", "inventory",
				"reconcile", "place", "time"}).Draw(t, "step") {
			case "carry out":
				m.carryOut(rapid.SampledFrom(mostly).Draw(t, "succeeds"), rapid.SampledFrom(mostly).Draw(t, "answers"))
			case "ask":
				m.ask(rapid.SampledFrom([]string{"stop", "hibernate", "hibernate", "hibernate", "wake", "wake", "wake", "wake elsewhere"}).Draw(t, "what"))
			case "lose":
				m.running[agents.Draw(t, "agent")] = nil
			case "connection":
				agent := agents.Draw(t, "agent")
				m.connected[agent] = !m.connected[agent]
			case "inventory":
				m.inventory(agents.Draw(t, "agent"))
			case "reconcile":
				m.reconcile()
			case "place":
				m.place()
			case "time":
				m.pass(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 7 * time.Minute}).Draw(t, "by"))
			}
		}
		m.connected["a"], m.connected["b"] = true, true
		round := func() int {
			m.acts = 0
			m.pass(20 * time.Minute) // longer than anything is waited for
			for range len(m.orders) + 1 {
				m.carryOut(true, true)
			}
			m.inventory("a")
			m.inventory("b")
			m.place()
			m.reconcile()
			return m.acts
		}
		for rounds := 1; round() > 0; rounds++ {
			if rounds > 12 {
				t.Fatalf("it does not come to rest: %+v", m.session)
			}
		}
		s := m.session
		if s.State != models.SessionFailed && string(s.State) != string(s.DesiredState) {
			t.Fatalf("it rests as %s and is to be %s", s.State, s.DesiredState)
		}
		for agent, generations := range m.running {
			wanted := s.State == models.SessionRunning && s.AgentID == agent
			if wanted != slices.Equal(generations, []int64{s.Generation}) || !wanted && len(generations) > 0 {
				t.Fatalf("it is %s in generation %d on %s, and %v run on %s", s.State, s.Generation, s.AgentID, generations, agent)
			}
		}
	})
}
