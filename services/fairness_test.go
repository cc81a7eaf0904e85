package services_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
)

// jain is Jain's index of fairness: 1 when all have the same, 1/n when one of n
// has everything.
func jain(all []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, one := range all {
		sum += one
		squares += one * one
	}
	return sum * sum / (float64(len(all)) * squares)
}

const (
	tenants     = 10
	requests    = 50 // of each tenant
	places      = 20
	serviceTime = time.Second
)

// crowd are tenants who have asked for sessions.
type crowd struct {
	*world
	users []models.User
}

// newCrowd makes the tenants, and agents that have places for some of what they
// are to ask for.
func newCrowd(t *testing.T, database *db.Database) *crowd {
	c := &crowd{world: newWorld(t, database, services.DispatcherOptions{})}
	for i := range places / 5 {
		id := fmt.Sprint("agent-", i)
		c.register(models.Agent{ID: id, Capacity: map[string]interface{}{"maxSessions": 5}})
		c.connect(id)
	}
	for i := range tenants {
		c.users = append(c.users, c.user(fmt.Sprint("tenant-", i)))
	}
	return c
}

// request is the index'th request of a tenant.
func request(tenant, index int) string { return fmt.Sprintf("t%d-%02d", tenant, index) }

// lineUp puts the tenants' requests into the queue, all of one tenant before
// all of the next one, and as good as at once. It begins with the given request
// of the first tenant.
func (c *crowd) lineUp(first int) {
	c.t.Helper()
	until := c.clock.Now().Add(time.Hour)
	for i, user := range c.users {
		var launches []db.Launch
		for ; first < requests; first++ {
			launches = append(launches, db.Launch{Actor: "user:" + user.Name, Session: models.Session{
				ID: request(i, first), UserID: user.ID, Template: "desk", Protocol: models.ProtocolVNC, WaitUntil: &until, RequestHash: "-",
				Spec: models.Template{Metadata: models.TemplateMetadata{Name: "desk"}}}})
		}
		first = 0
		c.clock.advance(time.Microsecond)
		written, err := c.database.LaunchSessions(c.t.Context(), launches, c.clock.Now())
		if err != nil {
			c.t.Fatal(err)
		}
		for _, one := range written {
			if one.Err != nil {
				c.t.Fatal(one.Err)
			}
		}
	}
}

// serve has all that wait placed, round by round: when all places are taken,
// the service time passes and those who have them leave.
func (c *crowd) serve() {
	c.t.Helper()
	for rounds := 0; ; rounds++ {
		placed, waiting := c.placeWaiting(), len(c.waiting())
		if waiting == 0 {
			return
		}
		if placed != places && rounds > 0 {
			c.t.Fatalf("round %d: %d were placed while %d wait", rounds, placed, waiting)
		}
		c.clock.advance(serviceTime)
		c.exec("UPDATE sessions SET state = 'terminated' WHERE agent_id IS NOT NULL")
	}
}

// fairness is Jain's index over the tenants' mean waits. since is when the
// requests were made.
func (c *crowd) fairness(since time.Time) float64 {
	c.t.Helper()
	var means []float64
	for tenant := range tenants {
		var waited time.Duration
		for index := range requests {
			waited += c.session(request(tenant, index)).StateSince.Sub(since)
		}
		means = append(means, (waited / requests).Seconds())
	}
	c.t.Logf("mean waits, in service times: %.1f", means)
	return jain(means)
}

// firstComeFirstServed is the index that the requests would have if they were
// served in the order in which they came.
func firstComeFirstServed() float64 {
	var means []float64
	for tenant := range tenants {
		rounds := 0
		for index := range requests {
			rounds += (tenant*requests + index) / places
		}
		means = append(means, float64(rounds)/requests)
	}
	return jain(means)
}

// Whoever asks first for much at once does not get much more than the others.
func TestTenantsWaitAlike(t *testing.T) {
	const enough = 0.95
	naive := firstComeFirstServed()
	if naive >= enough {
		t.Fatalf("the order of the requests is fair by itself: %.3f", naive)
	}
	for name, first := range map[string]int{"all wait": 0, "the first has every place": places} {
		t.Run(name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, database *db.Database) {
				c := newCrowd(t, database)
				since := c.clock.Now()
				for index := range first {
					if session := c.ask(request(0, index), c.users[0]); session.AgentID == "" {
						t.Fatalf("%s waits", session.ID)
					}
				}
				c.lineUp(first)
				c.serve()
				index := c.fairness(since)
				t.Logf("Jain's index of the mean waits is %.3f; first come, first served, it would be %.3f", index, naive)
				if index < enough {
					t.Errorf("it is less than %.2f", enough)
				}
			})
		})
	}
}
