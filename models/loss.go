package models

import (
	"fmt"
	"time"
)

// OnLost is what becomes of a session that should run and that its agent does
// not have any more, for example because its machine was restarted.
type OnLost string

// The policies.
const (
	// OnLostRestart starts it again on the same agent, and nowhere else.
	OnLostRestart OnLost = "restart"
	// OnLostRecreate places it anew, on whatever agent can take it.
	OnLostRecreate OnLost = "recreate"
	// OnLostFail ends it.
	OnLostFail OnLost = "fail"
)

const (
	// MaxLosses is how often a session is begun again within LossWindow; the next
	// loss fails it.
	MaxLosses = 3
	// LossWindow is for how long a loss counts.
	LossWindow = 10 * time.Minute
	// LossBackoff is how long after a loss a session may be begun again once more;
	// it doubles with each loss that counts.
	LossBackoff = 30 * time.Second
)

// WhenLost is the template's policy, or the default: a session that keeps its
// home is started again where that is, any other one has lost its work and
// fails.
func (s TemplateSpec) WhenLost() OnLost {
	switch {
	case s.OnLost != "":
		return s.OnLost
	case s.PersistentHome:
		return OnLostRestart
	}
	return OnLostFail
}

// Loss is one time that a session's agent did not have it any more, or was gone
// itself, and it was begun again.
type Loss struct {
	AgentID string `json:"agentId"`
	// Generation is the one that was lost.
	Generation int64     `json:"generation"`
	Remedy     OnLost    `json:"remedy" doc:"restart or recreate"`
	At         time.Time `json:"at"`
}

// RecentLosses are those that count still.
func (s Session) RecentLosses(now time.Time) []Loss {
	var recent []Loss
	for _, loss := range s.Losses {
		if now.Sub(loss.At) < LossWindow {
			recent = append(recent, loss)
		}
	}
	return recent
}

// staysPut tells that the session was started again on its agent and is not to
// be started elsewhere.
func (s Session) staysPut() bool {
	return len(s.Losses) > 0 && s.Losses[len(s.Losses)-1].Remedy == OnLostRestart
}

// Recovery says in words what is done about the loss, the nth one that counts,
// after what has happened.
func (l Loss) Recovery(happened string, nth int) string {
	how := "started again there"
	if l.Remedy == OnLostRecreate {
		how = "placed anew"
	}
	return fmt.Sprintf("%s; it is %s, for the %s time of at most %d within %s",
		happened, how, ordinal(nth), MaxLosses, FormatDuration(LossWindow))
}

func ordinal(n int) string {
	return []string{"first", "second", "third"}[min(max(n, 1), MaxLosses)-1]
}
