package services

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

const (
	// placements is how often a launch selects again when the selected agent
	// filled up or left in between.
	placements = 5
	// placeBatch bounds the launches of one transaction.
	placeBatch = 256
	// maxLeaders is how many batches may be under way: one is decided on while
	// another one is being written.
	maxLeaders = 2
	// placeAgain bounds the wait before another attempt, which is drawn at
	// random so that replicas do not meet again.
	placeAgain = 20 * time.Millisecond
)

// placing is one launch on its way to an agent.
type placing struct {
	criteria SelectionCriteria
	// launch makes what is written when the session is to be on the agent.
	launch func(agent *AgentInfo) (db.Launch, error)
	// asked is when it was asked for: an older picture of the fleet may lack an
	// agent that the asker has seen.
	asked time.Time
	tries int
	// command is what launch has made last, verdicts what was made of agents, and
	// left how many it does not tell of.
	command  models.AgentCommand
	verdicts []Verdict
	left     int

	// lead tells this one to decide for all that wait, which appointed says too;
	// done is closed when it is placed or not.
	lead      chan struct{}
	appointed bool
	done      chan struct{}
	launched  db.Launched
	err       error
}

// placer decides for many launches at once: whoever comes while a batch is
// being written waits for the next one. It has no goroutine of its own: one of
// those who wait leads. Safe for concurrent use.
type placer struct {
	database *db.Database
	fleet    *fleetReader
	options  placerOptions

	mu      sync.Mutex
	waiting []*placing
	// leaders counts those who decide and write, at most maxLeaders.
	leaders int

	placed, conflicts atomic.Uint64
}

type placerOptions struct {
	now             func() time.Time
	heartbeatWithin time.Duration
	weights         Weights
}

// place puts a session on an agent and has it written. An error of code
// models.CodeNoSuitableAgent says why there is no agent for it now.
func (p *placer) place(ctx context.Context, one *placing) (db.Launched, error) {
	one.lead, one.done, one.asked = make(chan struct{}, 1), make(chan struct{}), time.Now()
	p.mu.Lock()
	p.waiting = append(p.waiting, one)
	if p.leaders < maxLeaders {
		p.leaders++
		p.appoint()
	}
	p.mu.Unlock()
	for {
		select {
		case <-one.lead:
			// Others wait too: their wishes do not end with this caller's.
			p.work(context.WithoutCancel(ctx), one)
		case <-one.done:
			p.decline(one)
			return one.launched, one.err
		}
	}
}

// appoint has somebody that waits take over the lead, or ends it. The lock is
// held.
func (p *placer) appoint() {
	for _, one := range p.waiting {
		if !one.appointed {
			one.appointed = true
			one.lead <- struct{}{}
			return
		}
	}
	p.leaders--
}

// decline hands on a lead that came when another leader had placed this one.
func (p *placer) decline(one *placing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-one.lead:
		p.appoint()
	default:
	}
}

// work places batches until own is placed, and hands the lead on; or until
// nobody waits, as own is in another leader's batch.
func (p *placer) work(ctx context.Context, own *placing) {
	for {
		p.mu.Lock()
		count := min(len(p.waiting), placeBatch)
		batch := p.waiting[:count:count]
		p.waiting = p.waiting[count:]
		if count == 0 {
			own.appointed = false
			p.leaders--
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		again := p.write(ctx, batch)
		p.mu.Lock()
		p.waiting = append(again, p.waiting...)
		select {
		case <-own.done:
			p.appoint()
			p.mu.Unlock()
			return
		default:
			p.mu.Unlock()
		}
		if len(again) > 0 {
			pause(rand.N(placeAgain))
		}
	}
}

func pause(duration time.Duration) { <-time.After(duration) }

// write decides on a batch and writes it, and gives those to be tried again.
func (p *placer) write(ctx context.Context, batch []*placing) (again []*placing) {
	var chosen []*placing
	var launches []db.Launch
	users, err := p.userLoads(ctx, batch)
	if err != nil {
		for _, one := range batch {
			one.finish(db.Launched{}, err)
		}
		return nil
	}
	refused := refusals{}
	for _, one := range batch {
		launch, err := p.decide(ctx, one, users[one.criteria.UserID], refused)
		if err != nil {
			one.finish(db.Launched{}, err)
			continue
		}
		if there := users[one.criteria.UserID]; there != nil {
			there.Add(launch.Session.AgentID)
		}
		p.fleet.Hold(launch.Session.AgentID, one.criteria.reserves())
		chosen, launches = append(chosen, one), append(launches, launch)
	}
	if len(chosen) == 0 {
		return nil
	}
	begun := time.Now()
	launched, err := p.database.LaunchSessions(ctx, launches, p.options.now())
	if err != nil && len(chosen) > 1 && models.CodeOf(err) != models.CodeUnavailable {
		// One of them is what the database refuses, and not all.
		for i, one := range chosen {
			p.fleet.Settle(launches[i].Session.AgentID, one.criteria.reserves(), time.Time{})
			again = append(again, p.write(ctx, []*placing{one})...)
		}
		return again
	}
	for i, one := range chosen {
		var outcome db.Launched
		if err == nil {
			outcome = launched[i]
		}
		var written time.Time
		if err == nil && outcome.Err == nil && !outcome.Existed {
			written = begun
		}
		p.fleet.Settle(launches[i].Session.AgentID, one.criteria.reserves(), written)
		code := models.CodeOf(errors.Join(err, outcome.Err))
		p.count(code, written)
		switch {
		case err != nil:
			one.finish(db.Launched{}, err)
		case (code == models.CodeNoSuitableAgent || code == models.CodeAgentUnknown) && one.tries < placements:
			one.asked = time.Now()
			again = append(again, one)
		case code == models.CodeNoSuitableAgent || code == models.CodeAgentUnknown:
			one.finish(db.Launched{}, &models.Error{Code: models.CodeNoSuitableAgent, Retryable: true, Err: outcome.Err,
				Message: "every agent filled up while the session was being placed; try again"})
		default:
			one.finish(outcome, outcome.Err)
		}
	}
	return again
}

// count counts what has become of one that was decided on: an error of that code,
// or else it was written, then or by an earlier request.
func (p *placer) count(code models.ErrorCode, written time.Time) {
	switch code {
	case models.CodeNoSuitableAgent, models.CodeAgentUnknown, models.CodeTransitionIllegal:
		p.conflicts.Add(1)
	default:
		if !written.IsZero() {
			p.placed.Add(1)
		}
	}
}

// userLoads counts where the sessions of those are who want theirs apart.
func (p *placer) userLoads(ctx context.Context, batch []*placing) (map[string]*UserSessions, error) {
	var names []string
	for _, one := range batch {
		if one.criteria.UserID != "" {
			names = append(names, one.criteria.UserID)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	loads, err := p.database.UserLoads(ctx, names)
	if err != nil {
		return nil, err
	}
	users := map[string]*UserSessions{}
	for _, name := range names {
		if loads[name] == nil {
			loads[name] = map[string]int{}
		}
		if users[name] == nil {
			users[name] = NewUserSessions(loads[name])
		}
	}
	return users, nil
}

// placeAll places sessions in the order given and tells what has become of each.
// Those that lost a race have no agent yet, and no error.
func (p *placer) placeAll(ctx context.Context, all []*placing) {
	for len(all) > 0 {
		count := min(len(all), placeBatch)
		for _, one := range all[:count] {
			one.done, one.asked = make(chan struct{}), time.Now()
		}
		p.write(ctx, all[:count])
		all = all[count:]
	}
}

// decide chooses an agent. Before it says that there is none it looks at the
// fleet as it is now, except for what is of a kind that was refused.
func (p *placer) decide(ctx context.Context, one *placing, user *UserSessions, refused refusals) (db.Launch, error) {
	if err := p.options.weights.Validate(); err != nil {
		return db.Launch{}, err
	}
	after := time.Time{}
	if one.tries++; one.tries > 1 {
		after = one.asked // what was decided on an older picture was wrong
	}
	if err := p.fleet.refresh(ctx, after); err != nil {
		return db.Launch{}, err
	}
	agent := p.best(one, p.circumstances(one, user))
	if agent == nil {
		kind, err := one.criteria.kind()
		if err != nil {
			return db.Launch{}, err
		}
		if known, found := refused.of(kind, one); found {
			one.verdicts, one.left = known.verdicts, 0
			return db.Launch{}, known.err
		}
		if err := p.fleet.refresh(ctx, one.asked); err != nil {
			return db.Launch{}, err
		}
		read, at := p.fleet.read(), p.circumstances(one, user)
		best, rejected := rank(p.fleet.candidates(at), one.criteria, at.Since, p.options.weights)
		one.verdicts, one.left = verdicts(best, rejected), 0
		if len(best) == 0 {
			err := noSuitableAgent(one.criteria, rejected)
			refused[kind] = refusal{read: read, verdicts: one.verdicts, err: err}
			return db.Launch{}, err
		}
		agent = best[0].info()
	}
	launch, err := one.launch(agent)
	launch.Requirements = one.criteria.requirements()
	if err == nil {
		launch.Verdicts, err = keep(one.verdicts, one.left)
	}
	return launch, err
}

func (p *placer) circumstances(one *placing, user *UserSessions) Circumstances {
	return Circumstances{Since: p.options.now().Add(-p.options.heartbeatWithin), Connected: p.fleet.hub.IsAgentConnected,
		Failing: p.fleet.failing(one.criteria.Template), User: user}
}

// best gives the best agent of the picture at hand, or nil, and says why: of
// all agents, unless they are too many for a look at each.
func (p *placer) best(one *placing, at Circumstances) *AgentInfo {
	choice, found := p.fleet.Best(one.criteria, at)
	if !found {
		return nil
	}
	chosen := Verdict{AgentID: choice.Agent.AgentID, Score: choice.Score()}
	one.verdicts = []Verdict{chosen}
	if agents := p.fleet.size(); agents > explained {
		one.verdicts = append(one.verdicts, p.next(one.criteria, at, chosen)...)
		one.left = agents - len(one.verdicts)
		return choice.Agent
	}
	for _, verdict := range p.fleet.Explain(one.criteria, at) {
		if verdict.AgentID != chosen.AgentID { // which need not be first among equals
			one.verdicts = append(one.verdicts, verdict)
		}
	}
	one.left = 0
	return choice.Agent
}

// next gives the verdicts on the next best agents.
func (p *placer) next(criteria SelectionCriteria, at Circumstances, chosen Verdict) (all []Verdict) {
	criteria.Avoid = append(slices.Clip(criteria.Avoid), chosen.AgentID)
	for len(all) < nextBest {
		choice, found := p.fleet.Best(criteria, at)
		if !found {
			break
		}
		all = append(all, Verdict{AgentID: choice.Agent.AgentID, Score: choice.Score()})
		criteria.Avoid = append(criteria.Avoid, choice.Agent.AgentID)
	}
	return all
}

func (one *placing) finish(launched db.Launched, err error) {
	one.launched, one.err = launched, err
	close(one.done)
}
