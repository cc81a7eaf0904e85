package api

import (
	"context"
	"net/http"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
)

// WakeBody says where a session may wake.
type WakeBody struct {
	Elsewhere bool `json:"elsewhere,omitempty" doc:"another agent will do when none that has the session's home can take it; the session then begins without that home"`
}

type wakeInput struct {
	SessionParam
	// Body may be left out, and is nil then.
	Body *WakeBody
}

func (s *sessionRoutes) registerHibernation(r *router) {
	hibernate := operation(accessUser, http.MethodPost, base+"/sessions/{id}/hibernate", "hibernate-session", tagSessions,
		"End a session's programs and keep its home, so that it can be woken; safe to repeat", http.StatusBadRequest, http.StatusNotFound, http.StatusConflict)
	hibernate.DefaultStatus = http.StatusAccepted
	register(r, hibernate, s.hibernate)
	wake := operation(accessUser, http.MethodPost, base+"/sessions/{id}/wake", "wake-session", tagSessions,
		"Have a hibernated session run again, on an agent that has its home; safe to repeat",
		append(bodyErrors(), http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable)...)
	wake.DefaultStatus = http.StatusAccepted
	register(r, wake, s.wake)
}

func (s *sessionRoutes) hibernate(ctx context.Context, input *SessionParam) (*output[models.Session], error) {
	if _, err := visible(ctx, s.database, input.ID); err != nil {
		return nil, err
	}
	return s.seen(ctx)(s.sessions.Hibernate(ctx, input.ID, actorOf(ctx)))
}

func (s *sessionRoutes) wake(ctx context.Context, input *wakeInput) (*output[models.Session], error) {
	if _, err := visible(ctx, s.database, input.ID); err != nil {
		return nil, err
	}
	return s.seen(ctx)(s.sessions.Wake(ctx, services.WakeRequest{SessionID: input.ID, Actor: actorOf(ctx),
		Elsewhere: input.Body != nil && input.Body.Elsewhere}))
}
