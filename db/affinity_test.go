package db_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/streamspace/streamspace/models"
)

func TestWhereUsersAre(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.agent("a", 0)
		w.agent("b", 0)
		first := w.session("s1", "a", noon)
		user := first.UserID
		if agent, store, err := w.Home(ctx, user, "desktop"); err != nil || agent != "a" || store != "" {
			t.Errorf("the home is on %q in %q, %v", agent, store, err)
		}
		w.session("s2", "b", after(time.Minute))
		w.session("s3", "b", after(2*time.Minute))
		w.sql("UPDATE sessions SET state = 'terminated' WHERE id = 's3'")
		_, _, err := w.RegisterAgent(ctx, models.Agent{ID: "b", Platform: models.PlatformProcess, HomeStore: "cellar"}, noon)
		must(t, err)
		if agent, store, err := w.Home(ctx, user, "desktop"); err != nil || agent != "b" || store != "cellar" {
			t.Errorf("the home is on %q in %q, %v", agent, store, err)
		}
		for _, none := range [][2]string{{"nobody", "desktop"}, {user, "browser"}} {
			if agent, store, err := w.Home(ctx, none[0], none[1]); err != nil || agent+store != "" {
				t.Errorf("the home of %v is on %q in %q, %v", none, agent, store, err)
			}
		}
		loads, err := w.UserLoads(ctx, []string{user, "nobody"})
		must(t, err)
		if want := map[string]map[string]int{user: {"a": 1, "b": 1}}; !reflect.DeepEqual(loads, want) {
			t.Errorf("the loads are %v", loads)
		}
	})
}
