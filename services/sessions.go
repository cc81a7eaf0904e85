package services

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// SessionsOptions configure Sessions. The zero value of a field means its
// default.
type SessionsOptions struct {
	// Logger discards by default.
	Logger *slog.Logger
	// Now is the clock of what is written; time.Now.
	Now func() time.Time
	// NewID makes session ids; 16 random lower case base32 characters.
	NewID func() string
	// NewCommandID makes command ids; by default they begin with the time.
	NewCommandID func() string
	// CommandDeadline is how long a start or stop may take, waiting for the
	// agent included; DefaultCommandDeadline.
	CommandDeadline time.Duration
	// WaitFor is how long a session waits for an agent that could take it, unless
	// its request says otherwise; DefaultWaitFor.
	WaitFor time.Duration
}

// Sessions is the life cycle of sessions as their owners ask for it. Safe for
// concurrent use.
type Sessions struct {
	database   *db.Database
	selector   *AgentSelector
	dispatcher *CommandDispatcher
	placer     *placer
	options    SessionsOptions
	// queued is set while sessions wait, as far as this replica knows. A launch
	// then takes its place behind them.
	queued atomic.Bool
	// passing has one place, which is taken during a pass through the queue, and
	// passes counts those that have begun.
	passing chan struct{}
	passes  atomic.Uint64
	// passBound is waitingPass. A pass that it ends has come to the place reached,
	// and the next one goes on from there. Whoever has the place in passing has
	// both.
	passBound, reached int
}

// NewSessions makes the life cycle over its parts.
func NewSessions(database *db.Database, selector *AgentSelector, dispatcher *CommandDispatcher, options SessionsOptions) *Sessions {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.NewID == nil {
		options.NewID = newID
	}
	if options.NewCommandID == nil {
		options.NewCommandID = func() string { return newCommandID(options.Now()) }
	}
	if options.CommandDeadline <= 0 {
		options.CommandDeadline = DefaultCommandDeadline
	}
	if options.WaitFor <= 0 {
		options.WaitFor = DefaultWaitFor
	}
	return &Sessions{database: database, selector: selector, dispatcher: dispatcher, options: options, passing: make(chan struct{}, 1), passBound: waitingPass,
		placer: &placer{
			database: database,
			fleet:    newFleetReader(database, selector),
			options: placerOptions{
				now: selector.options.Now, heartbeatWithin: selector.options.HeartbeatWithin, weights: selector.options.Weights,
			},
		}}
}

// newID makes an id of 80 random bits that is also a legal session id.
func newID() string { return strings.ToLower(rand.Text()[:16]) }

// newCommandID makes an id that begins with the time, in milliseconds, so that
// new rows lie together in the table's indexes however many old ones there are,
// and ends with 50 random bits.
func newCommandID(now time.Time) string {
	stamp := make([]byte, 8)
	binary.BigEndian.PutUint64(stamp, uint64(now.UnixMilli())<<14)
	return strings.ToLower(base32.HexEncoding.EncodeToString(stamp)[:10] + rand.Text()[:10])
}

// Launch places a session on an agent and has it started. It returns as soon
// as the session and its start command are written; the session is pending
// then. When no agent can take it now but one could, the session waits, pending
// too and without an agent, for as long as the request says. The same request
// with the same id gives the session that it launched before, and existed.
//
// Errors: models.CodeInvalidRequest, models.CodeTemplateUnknown,
// models.CodeSessionConflict when the id belongs to another request, and
// models.CodeNoSuitableAgent with the reasons when waiting would not help or is
// not wanted; nothing is written then.
func (s *Sessions) Launch(ctx context.Context, request LaunchRequest) (session models.Session, existed bool, err error) {
	if err := request.validate(); err != nil {
		return models.Session{}, false, err
	}
	hash, err := request.hash()
	if err != nil {
		return models.Session{}, false, err
	}
	if request.ID == "" {
		request.ID = s.options.NewID()
	} else if session, existed, err = s.earlier(ctx, request, hash); existed || err != nil {
		return session, existed, err
	}
	template, err := s.launchable(ctx, request)
	if err != nil {
		return models.Session{}, false, err
	}
	return s.place(ctx, request, template, hash)
}

// launchable gives the template of a request that makes sense for it.
func (s *Sessions) launchable(ctx context.Context, request LaunchRequest) (models.Template, error) {
	template, err := s.database.Template(ctx, request.Template)
	if err != nil {
		return models.Template{}, err
	}
	if request.Platform != "" && !template.RunsOn(request.Platform) {
		return models.Template{}, models.Errorf(models.CodeInvalidRequest, "template %q does not run on platform %q, only on %s",
			request.Template, request.Platform, strings.Join(template.Spec.Platforms, ", "))
	}
	template.Spec, err = template.Spec.Shortened(request.IdleTimeout, request.MaxDuration)
	return template, err
}

// criteria are what the request asks of an agent.
func (s *Sessions) criteria(ctx context.Context, request LaunchRequest, template models.Template) (SelectionCriteria, error) {
	return s.complete(ctx, *request.criteria(template), request.Owner.ID, template)
}

// complete adds to criteria what the control plane knows of whoever asks.
func (s *Sessions) complete(ctx context.Context, criteria SelectionCriteria, userID string, template models.Template) (SelectionCriteria, error) {
	criteria.UserID = userID
	var err error
	if template.Spec.PersistentHome {
		criteria.Preferences.HomeAgent, criteria.Preferences.HomeStore, err = s.database.Home(ctx, userID, template.Metadata.Name)
	}
	return criteria, err
}

// waits is how long the request may wait for an agent.
func (s *Sessions) waits(request LaunchRequest) time.Duration {
	if request.Wait != nil {
		return *request.Wait
	}
	return s.options.WaitFor
}

// earlier finds what an earlier request with the same id launched. It looks
// before an agent is selected, so that a repeat succeeds even when no agent
// could take the session now.
func (s *Sessions) earlier(ctx context.Context, request LaunchRequest, hash string) (models.Session, bool, error) {
	session, err := s.database.Session(ctx, request.ID)
	switch {
	case models.CodeOf(err) == models.CodeSessionUnknown:
		return models.Session{}, false, nil
	case err != nil:
		return models.Session{}, false, err
	case session.UserID != request.Owner.ID || session.RequestHash != hash:
		return models.Session{}, false, models.Errorf(models.CodeSessionConflict,
			"the session id %q belongs to another request; choose another id, or none", request.ID)
	}
	return session, true, nil
}

// place puts the session on an agent.
func (s *Sessions) place(ctx context.Context, request LaunchRequest, template models.Template, hash string) (models.Session, bool, error) {
	wait := s.waits(request)
	criteria, err := s.criteria(ctx, request, template)
	if err != nil {
		return models.Session{}, false, err
	}
	one := &placing{criteria: criteria}
	if s.queued.Load() && wait > 0 {
		agents, err := s.selector.Explain(ctx, &one.criteria)
		if err != nil {
			return models.Session{}, false, err
		}
		if CouldFit(agents) {
			return s.queueUp(ctx, request, template, hash, wait, "others wait already", agents)
		}
	}
	one.launch = func(agent *AgentInfo) (db.Launch, error) {
		launch, err := s.launch(request, template, agent, hash)
		one.command = launch.Command
		return launch, err
	}
	launched, err := s.placer.place(ctx, one)
	var refused *models.Error
	if errors.As(err, &refused) && refused.Code == models.CodeNoSuitableAgent && wait > 0 && CouldFit(one.verdicts) {
		return s.queueUp(ctx, request, template, hash, wait, refused.Message, one.verdicts)
	}
	if refused != nil && refused.Code == models.CodeNoSuitableAgent {
		s.refuse(ctx, request, one.verdicts)
	}
	if err != nil {
		return models.Session{}, false, err
	}
	//failpoint:launch-committed
	session := launched.Session
	if !launched.Existed {
		s.dispatcher.expect(one.command)
		s.options.Logger.Info("session launched", "session", session.ID, "user", session.User,
			"template", session.Template, "agent", session.AgentID)
	}
	return session, launched.Existed, nil
}

// launch is all that the launching transaction writes.
func (s *Sessions) launch(request LaunchRequest, template models.Template, agent *AgentInfo, hash string) (db.Launch, error) {
	wish, err := request.wish()
	if err != nil {
		return db.Launch{}, err
	}
	template = template.WithPagePrefix(request.ID, rand.Text())
	session := models.Session{
		ID: request.ID, Priority: request.Priority, Placement: wish, Name: request.Name, Template: request.Template, Protocol: template.Spec.Protocol,
		User: request.Owner.Name, UserID: request.Owner.ID, Generation: 1,
		State: models.SessionPending, DesiredState: models.DesiredRunning,
		AgentID: agent.AgentID, ClusterID: agent.ClusterID, Platform: agent.Platform, Region: agent.Region,
		Resources: request.Resources.Or(template.Spec.DefaultResources), Spec: template, RequestHash: hash,
	}
	if session.Name == "" {
		session.Name = template.Spec.DisplayName
	}
	if session.Name == "" {
		session.Name = template.Metadata.Name
	}
	if session.Protocol == "" {
		session.Protocol = models.ProtocolVNC
	}
	launch := db.Launch{Session: session, Actor: "user:" + request.Owner.Name}
	if agent.AgentID != "" {
		launch.Command, err = s.start(session)
	}
	return launch, err
}

// start is the command that starts a session on its agent.
func (s *Sessions) start(session models.Session) (models.AgentCommand, error) {
	return startCommand(session, s.options.NewCommandID(), s.options.Now(), s.options.CommandDeadline)
}

// Stop asks for a session's end, in whatever state it is, and returns as soon
// as that is written. A session that is terminating or has ended is given as
// it is. actor is whom the history names, such as user:NAME.
// models.CodeSessionUnknown when there is no such session.
func (s *Sessions) Stop(ctx context.Context, sessionID, actor string) (models.Session, error) {
	return s.stop(ctx, db.Stop{SessionID: sessionID, Actor: actor})
}

// stop fills in the command of what is asked, and has it sent.
func (s *Sessions) stop(ctx context.Context, asked db.Stop) (models.Session, error) {
	now := s.options.Now()
	asked.CommandID, asked.DeadlineAt = s.options.NewCommandID(), now.Add(s.options.CommandDeadline)
	session, command, err := s.database.StopSession(ctx, asked, now)
	if err != nil {
		return models.Session{}, fmt.Errorf("stop session: %w", err)
	}
	//failpoint:stop-committed
	if command != nil {
		s.dispatcher.expect(*command)
		s.options.Logger.Info("session stopping", "session", session.ID, "agent", session.AgentID, "actor", asked.Actor)
	}
	return session, nil
}
