package api

import (
	"context"
	"net/http"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
)

// reconcilerRoutes are who reconciles sessions, for everybody: it says why a
// session whose agent is away is not given up.
type reconcilerRoutes struct {
	reconciler *services.SessionReconciler
}

func (c *reconcilerRoutes) register(r *router) {
	register(r, operation(accessUser, http.MethodGet, base+"/reconciler", "show-reconciler", tagServer,
		"Show which replica sets right what is stuck, how much is, and whether that is held back", http.StatusNotFound), c.show)
}

func (c *reconcilerRoutes) show(ctx context.Context, _ *struct{}) (*output[models.ReconcilerStatus], error) {
	if c.reconciler == nil {
		return nil, models.Errorf(models.CodeNotFound, "this control plane reconciles no sessions")
	}
	status, err := c.reconciler.Status(ctx)
	if err != nil {
		return nil, err
	}
	return &output[models.ReconcilerStatus]{Body: status}, nil
}
