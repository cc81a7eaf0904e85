package db_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/streamspace/streamspace/models"
)

func TestPageGrants(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		grant := models.PageGrant{Hash: "g1", SessionID: "s", UserID: w.user.ID, CreatedAt: noon, ExpiresAt: after(time.Hour)}
		must(t, w.CreatePageGrant(ctx, grant))
		if got, err := w.PageGrant(ctx, "g1", after(59*time.Minute)); err != nil || got != grant {
			t.Errorf("the grant is %+v, %v", got, err)
		}
		_, err := w.PageGrant(ctx, "g1", after(time.Hour))
		refused(t, err, models.CodeUnauthenticated)
		_, err = w.PageGrant(ctx, "g2", noon)
		refused(t, err, models.CodeUnauthenticated)
		other, err := w.EnsureUser(ctx, "other", models.RoleUser, noon)
		must(t, err)
		must(t, w.CreatePageGrant(ctx, models.PageGrant{Hash: "g3", SessionID: "s", UserID: other.ID, CreatedAt: noon, ExpiresAt: after(time.Hour)}))
		must(t, w.DeletePageGrants(ctx, w.user.ID))
		_, err = w.PageGrant(ctx, "g1", noon)
		refused(t, err, models.CodeUnauthenticated)
		_, err = w.PageGrant(ctx, "g3", noon)
		must(t, err)
		// What has long expired goes when others come.
		for i := range 3 {
			must(t, w.CreatePageGrant(ctx, models.PageGrant{Hash: fmt.Sprint("new", i), SessionID: "s", UserID: w.user.ID,
				CreatedAt: after(2 * time.Hour), ExpiresAt: after(3 * time.Hour)}))
		}
		if kept := w.count("SELECT count(*) FROM page_grants"); kept != 3 {
			t.Errorf("%d grants are kept", kept)
		}
	})
}
