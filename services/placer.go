package services

import (
	"context"
	"errors"
	"math/rand/v2"
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
	// command is what launch has made last, and verdicts what was made of each
	// agent.
	command  models.AgentCommand
	verdicts []Verdict

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
	fleet    *fleet
	options  placerOptions

	mu      sync.Mutex
	waiting []*placing
	// leaders counts those who decide, at most as many as the database can write
	// for at once.
	leaders int

	placed, conflicts atomic.Uint64
}

type placerOptions struct {
	now             func() time.Time
	heartbeatWithin time.Duration
	weights         Weights
	// leaders is how many batches may be under way.
	leaders int
}

// place puts a session on an agent and has it written. An error of code
// models.CodeNoSuitableAgent says why there is no agent for it now.
func (p *placer) place(ctx context.Context, one *placing) (db.Launched, error) {
	one.lead, one.done, one.asked = make(chan struct{}, 1), make(chan struct{}), time.Now()
	p.mu.Lock()
	p.waiting = append(p.waiting, one)
	if p.leaders < p.options.leaders {
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
	for _, one := range batch {
		launch, err := p.decide(ctx, one, users[one.criteria.UserID])
		if err != nil {
			one.finish(db.Launched{}, err)
			continue
		}
		if there := users[one.criteria.UserID]; there != nil {
			there[launch.Session.AgentID]++
		}
		p.fleet.hold(launch.Session.AgentID, one.criteria.reserves())
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
			p.fleet.settle(launches[i].Session.AgentID, one.criteria.reserves(), time.Time{})
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
		p.fleet.settle(launches[i].Session.AgentID, one.criteria.reserves(), written)
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
func (p *placer) userLoads(ctx context.Context, batch []*placing) (map[string]map[string]int, error) {
	var users []string
	for _, one := range batch {
		if one.criteria.UserID != "" {
			users = append(users, one.criteria.UserID)
		}
	}
	if len(users) == 0 {
		return nil, nil
	}
	loads, err := p.database.UserLoads(ctx, users)
	for _, user := range users {
		if err == nil && loads[user] == nil {
			loads[user] = map[string]int{}
		}
	}
	return loads, err
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
// fleet as it is now.
func (p *placer) decide(ctx context.Context, one *placing, userSessions map[string]int) (db.Launch, error) {
	after := time.Time{}
	if one.tries++; one.tries > 1 {
		after = one.asked // what was decided on an older picture was wrong
	}
	if err := p.fleet.refresh(ctx, after); err != nil {
		return db.Launch{}, err
	}
	agent, err := p.best(one, userSessions)
	if err != nil {
		if err := p.fleet.refresh(ctx, one.asked); err != nil {
			return db.Launch{}, err
		}
		if agent, err = p.best(one, userSessions); err != nil {
			return db.Launch{}, err
		}
	}
	launch, err := one.launch(agent)
	launch.Requirements = one.criteria.requirements()
	if err == nil {
		launch.Verdicts, err = keep(one.verdicts)
	}
	return launch, err
}

func (p *placer) best(one *placing, userSessions map[string]int) (*AgentInfo, error) {
	if err := p.options.weights.Validate(); err != nil {
		return nil, err
	}
	candidates := p.fleet.candidates(one.criteria.Template)
	for i := range candidates {
		candidates[i].userSessions = userSessions[candidates[i].ID]
	}
	best, rejected := rank(candidates, one.criteria, p.options.now().Add(-p.options.heartbeatWithin), p.options.weights)
	one.verdicts = verdicts(best, rejected)
	if len(best) == 0 {
		return nil, noSuitableAgent(one.criteria, rejected)
	}
	return best[0].info(), nil
}

func (one *placing) finish(launched db.Launched, err error) {
	one.launched, one.err = launched, err
	close(one.done)
}
