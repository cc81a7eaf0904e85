package models_test

import (
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/models"
)

func TestUnreachableIsWhatRunsOnAnAgentThatIsAway(t *testing.T) {
	now := time.Date(2030, 4, 1, 12, 0, 0, 0, time.UTC)
	before := func(ago time.Duration) *time.Time { at := now.Add(-ago); return &at }
	running := models.Session{State: models.SessionRunning, AgentID: "a"}
	for name, c := range map[string]struct {
		session models.Session
		contact *models.Contact
		reason  string
		since   *time.Time
	}{
		"heard just now":        {running, &models.Contact{Connected: true, LastHeartbeat: before(0)}, "", nil},
		"heard long enough ago": {running, &models.Contact{Connected: true, LastHeartbeat: before(45 * time.Second)}, "", nil},
		"silent":                {running, &models.Contact{Connected: true, LastHeartbeat: before(46 * time.Second)}, "no heartbeat for more than 45s", before(46 * time.Second)},
		"silent from the first": {running, &models.Contact{Connected: true}, "no heartbeat", nil},
		"disconnected":          {running, &models.Contact{LastHeartbeat: before(time.Second)}, "not connected", before(time.Second)},
		"without a row":         {running, nil, "no longer registered", nil},
		"without an agent":      {models.Session{State: models.SessionPending}, nil, "", nil},
		"ended":                 {models.Session{State: models.SessionFailed, AgentID: "a"}, nil, "", nil},
		"asleep":                {models.Session{State: models.SessionHibernated, AgentID: "a"}, nil, "", nil},
		"to be stopped":         {models.Session{State: models.SessionTerminating, AgentID: "a"}, &models.Contact{}, "not connected", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.session.UnreachableBy(c.contact, 45*time.Second, now)
			if (got != nil) != (c.reason != "") {
				t.Fatalf("got %+v", got)
			}
			if got == nil {
				return
			}
			if !strings.Contains(got.Reason, c.reason) || !strings.Contains(got.Reason, `"a"`) {
				t.Errorf("the reason is %q", got.Reason)
			}
			if (got.Since == nil) != (c.since == nil) || got.Since != nil && !got.Since.Equal(*c.since) {
				t.Errorf("since %v", got.Since)
			}
		})
	}
}
