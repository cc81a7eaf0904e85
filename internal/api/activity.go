package api

import (
	"context"
	"net/http"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
)

// activityRoutes are where viewers say that somebody uses a session.
type activityRoutes struct {
	database *db.Database
	activity *services.ActivityKeeper
}

func (a *activityRoutes) register(r *router) {
	used := operation(accessUser, http.MethodPost, base+"/sessions/{id}/activity", "report-activity", tagSessions,
		"Say that somebody uses one's own running session now, so that its idleTimeout begins anew; once in 30 seconds is enough",
		http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable)
	used.DefaultStatus = http.StatusNoContent
	register(r, used, a.used)
}

func (a *activityRoutes) used(ctx context.Context, input *SessionParam) (*struct{}, error) {
	session, err := ownRunning(ctx, a.database, input.ID)
	if err == nil && session.IdleTimeout != "" {
		err = a.activity.Used(session.ID)
	}
	return nil, err
}

// ownRunning finds a session that runs and is the caller's own, not even an
// admin being let into another's.
func ownRunning(ctx context.Context, database *db.Database, id string) (models.Session, error) {
	session, err := visible(ctx, database, id)
	if err != nil {
		return models.Session{}, err
	}
	if session.UserID != userOf(ctx).ID {
		return models.Session{}, models.Errorf(models.CodeForbidden, "this is %s's session; only its owner may look into it", session.User)
	}
	return session, streamable(session, session.Generation)
}
