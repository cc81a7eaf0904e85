package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
)

// sessionRoutes are sessions as a resource.
type sessionRoutes struct {
	database *db.Database
	sessions *services.Sessions
	observer observer
}

// SessionParam names a session.
type SessionParam struct {
	ID string `path:"id" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" patternDescription:"a session id: lower case letters, digits and dashes, at most 63"`
}

// LaunchBody is what to launch.
type LaunchBody struct {
	Template          string            `json:"template" minLength:"1" maxLength:"63" pattern:"^[a-z0-9][a-z0-9-]*$" patternDescription:"a template's name: lower case letters, digits and dashes" doc:"name of the template"`
	ID                string            `json:"id,omitempty" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" patternDescription:"lower case letters, digits and dashes, at most 63, not beginning with a dash" doc:"chosen by the caller, it makes this request safe to repeat; made up otherwise"`
	Name              string            `json:"name,omitempty" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f]*$" patternDescription:"without control characters" doc:"shown to people; the template's display name otherwise"`
	Region            string            `json:"region,omitempty" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f]*$" patternDescription:"without control characters" doc:"only agents of this region"`
	ClusterID         string            `json:"clusterId,omitempty" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f]*$" patternDescription:"without control characters" doc:"only agents of this cluster"`
	Platform          string            `json:"platform,omitempty" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f]*$" patternDescription:"without control characters" doc:"only agents of this platform, e.g. process"`
	Labels            string            `json:"labels,omitempty" maxLength:"4096" doc:"only agents with such labels, as Kubernetes writes selectors, e.g. disk=ssd,zone in (a,b),!spot"`
	PreferredRegions  []string          `json:"preferredRegions,omitempty" maxItems:"32" doc:"regions that are liked; others will do"`
	PreferredClusters []string          `json:"preferredClusters,omitempty" maxItems:"32" doc:"clusters that are liked; others will do"`
	Strategy          models.Strategy   `json:"strategy,omitempty" enum:"least-loaded,bin-pack" doc:"the agent with the fewest sessions, or the one that is fullest afterwards; least-loaded otherwise"`
	SpreadOver        models.Spread     `json:"spreadOver,omitempty" enum:"region,cluster" doc:"prefer the regions or clusters with fewer sessions"`
	Resources         *models.Resources `json:"resources,omitempty" doc:"limits; the template's otherwise"`
	Priority          int64             `json:"priority,omitempty" minimum:"-100" maximum:"100" doc:"comes before age among sessions that wait for an agent; higher first"`
	// WaitSeconds is a pointer since 0 has a meaning.
	WaitSeconds *int64 `json:"waitSeconds,omitempty" minimum:"0" maximum:"86400" doc:"how long to wait for an agent that could take the session; 600 otherwise, and 0 is not at all"`
	IdleTimeout string `json:"idleTimeout,omitempty" maxLength:"32" doc:"end it after so long unused, e.g. 30m; no longer than the template's, if that has one"`
	MaxDuration string `json:"maxDuration,omitempty" maxLength:"32" doc:"end it after running so long, e.g. 8h; no longer than the template's, if that has one"`
}

type launchInput struct {
	Body LaunchBody
}

type launchOutput struct {
	Status   int
	Location string `header:"Location" doc:"where the session is"`
	Body     models.Session
}

// SessionQuery restricts a list of sessions.
type SessionQuery struct {
	PageParams
	State []string `query:"state" enum:"pending,running,hibernating,hibernated,waking,terminating,terminated,failed" doc:"only these states, separated by commas"`
}

type sessionPageInput struct {
	SessionParam
	PageParams
}

func (s *sessionRoutes) register(r *router) {
	launch := operation(accessUser, http.MethodPost, base+"/sessions", "launch-session", tagSessions,
		"Launch a session", append(bodyErrors(), http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable)...)
	launch.DefaultStatus = http.StatusCreated
	launch.Description = "Answers 201, or 200 when the same request with the same id launched it before."
	launch.Responses = map[string]*huma.Response{"200": {
		Description: "It was launched before, by the same request.",
		Content: map[string]*huma.MediaType{
			"application/json": {Schema: &huma.Schema{Ref: schemaPrefix + "Session"}},
		},
	}}
	register(r, launch, s.launch)

	register(r, operation(accessUser, http.MethodGet, base+"/sessions", "list-sessions", tagSessions,
		"List sessions, newest first; an admin sees everybody's"), s.list)
	register(r, operation(accessUser, http.MethodGet, base+"/sessions/{id}", "show-session", tagSessions,
		"Show a session", http.StatusNotFound), s.show)

	stop := operation(accessUser, http.MethodDelete, base+"/sessions/{id}", "stop-session", tagSessions,
		"Stop a session, in whatever state it is; safe to repeat", http.StatusNotFound)
	stop.DefaultStatus = http.StatusAccepted
	register(r, stop, s.stop)
	s.registerHibernation(r)

	register(r, operation(accessUser, http.MethodGet, base+"/sessions/{id}/placement", "explain-session", tagSessions,
		"Explain why a session is on its agent, waits, or was refused", http.StatusNotFound), s.placement)
	explain := operation(accessUser, http.MethodPost, base+"/placements/explain", "explain-placement", tagSessions,
		"Explain what would become of a launch, and launch nothing", append(bodyErrors(), http.StatusNotFound)...)
	register(r, explain, s.explain)
	register(r, operation(accessUser, http.MethodGet, base+"/sessions/{id}/commands", "list-session-commands", tagSessions,
		"List what agents were told about a session", http.StatusNotFound), s.commands)
	register(r, operation(accessUser, http.MethodGet, base+"/sessions/{id}/events", "list-session-events", tagSessions,
		"List what happened to a session", http.StatusNotFound), s.events)
}

// request is the body as the user asks for it.
func (body LaunchBody) request(owner models.User) (services.LaunchRequest, error) {
	labels, err := models.ParseSelector(body.Labels)
	request := services.LaunchRequest{
		ID: body.ID, Name: body.Name, Template: body.Template,
		Region: body.Region, ClusterID: body.ClusterID, Platform: body.Platform, Labels: labels,
		Preferences: models.Preferences{Regions: body.PreferredRegions, Clusters: body.PreferredClusters,
			Strategy: body.Strategy, SpreadOver: body.SpreadOver},
		Priority: body.Priority, Owner: owner, IdleTimeout: body.IdleTimeout, MaxDuration: body.MaxDuration,
	}
	if body.WaitSeconds != nil {
		wait := time.Duration(*body.WaitSeconds) * time.Second
		request.Wait = &wait
	}
	if body.Resources != nil {
		request.Resources = *body.Resources
	}
	return request, err
}

func (s *sessionRoutes) launch(ctx context.Context, input *launchInput) (*launchOutput, error) {
	request, err := input.Body.request(userOf(ctx))
	if err != nil {
		return nil, err
	}
	session, existed, err := s.sessions.Launch(ctx, request)
	if err != nil {
		return nil, err
	}
	status := http.StatusCreated
	if existed {
		status = http.StatusOK
	}
	if err := s.observer.complete(ctx, &session); err != nil {
		return nil, err
	}
	return &launchOutput{Status: status, Location: base + "/sessions/" + session.ID, Body: session}, nil
}

func (s *sessionRoutes) list(ctx context.Context, input *SessionQuery) (*listOutput[models.Session], error) {
	filter := db.SessionFilter{}
	if user := userOf(ctx); user.Role != models.RoleAdmin {
		filter.UserID = user.ID
	}
	for _, state := range input.State {
		filter.States = append(filter.States, models.SessionState(state))
	}
	sessions, next, err := s.database.Sessions(ctx, filter, input.page())
	if err == nil {
		err = s.observer.complete(ctx, pointers(sessions)...)
	}
	return listed(sessions, next, err)
}

func (s *sessionRoutes) show(ctx context.Context, input *SessionParam) (*output[models.Session], error) {
	return s.seen(ctx)(visible(ctx, s.database, input.ID))
}

// seen makes the answer of what shows a session.
func (s *sessionRoutes) seen(ctx context.Context) func(models.Session, error) (*output[models.Session], error) {
	return func(session models.Session, err error) (*output[models.Session], error) {
		if err == nil {
			err = s.observer.complete(ctx, &session)
		}
		if err != nil {
			return nil, err
		}
		return &output[models.Session]{Body: session}, nil
	}
}

func (s *sessionRoutes) placement(ctx context.Context, input *SessionParam) (*output[services.Explanation], error) {
	explanation, owner, err := s.sessions.Explain(ctx, input.ID)
	// A session that was refused is none, but its user may ask about it.
	if user := userOf(ctx); user.Role != models.RoleAdmin && owner != user.ID && (err == nil || owner != "") {
		err = models.Errorf(models.CodeSessionUnknown, "there is no session %q; GET %s/sessions lists yours", input.ID, base)
	}
	if err != nil {
		return nil, err
	}
	return &output[services.Explanation]{Body: explanation}, nil
}

func (s *sessionRoutes) explain(ctx context.Context, input *launchInput) (*output[services.Explanation], error) {
	request, err := input.Body.request(userOf(ctx))
	if err != nil {
		return nil, err
	}
	explanation, err := s.sessions.ExplainLaunch(ctx, request)
	if err != nil {
		return nil, err
	}
	return &output[services.Explanation]{Body: explanation}, nil
}

func (s *sessionRoutes) stop(ctx context.Context, input *SessionParam) (*output[models.Session], error) {
	if _, err := visible(ctx, s.database, input.ID); err != nil {
		return nil, err
	}
	return s.seen(ctx)(s.sessions.Stop(ctx, input.ID, actorOf(ctx)))
}

func (s *sessionRoutes) commands(ctx context.Context, input *sessionPageInput) (*listOutput[models.AgentCommand], error) {
	if _, err := visible(ctx, s.database, input.ID); err != nil {
		return nil, err
	}
	return listed(s.database.Commands(ctx, db.CommandFilter{SessionID: input.ID}, input.page()))
}

func (s *sessionRoutes) events(ctx context.Context, input *sessionPageInput) (*listOutput[models.Event], error) {
	if _, err := visible(ctx, s.database, input.ID); err != nil {
		return nil, err
	}
	return listed(s.database.SessionEvents(ctx, input.ID, input.page()))
}

// visible finds a session that the caller may see. Other people's sessions are
// as unknown as those that never were, to the letter.
func visible(ctx context.Context, database *db.Database, id string) (models.Session, error) {
	session, err := database.Session(ctx, id)
	user := userOf(ctx)
	unknown := models.CodeOf(err) == models.CodeSessionUnknown
	if unknown || (err == nil && user.Role != models.RoleAdmin && session.UserID != user.ID) {
		return models.Session{}, models.Errorf(models.CodeSessionUnknown,
			"there is no session %q; GET %s/sessions lists yours", id, base)
	}
	return session, err
}
