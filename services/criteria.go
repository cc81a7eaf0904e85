package services

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/streamspace/streamspace/models"
)

// SelectionCriteria defines criteria for selecting an agent. The zero value,
// like no criteria at all, takes any fit agent that is connected and prefers
// low load.
type SelectionCriteria struct {
	// ClusterID restricts selection to a specific cluster (optional)
	ClusterID string
	// Region restricts selection to a specific region (optional)
	Region string
	// Platform restricts selection to a specific platform (kubernetes, docker, etc.)
	Platform string

	// PreferLowLoad prefers agents with fewer active sessions (default: true).
	// Since true is the default, false means the same: see IgnoreLoad.
	PreferLowLoad bool
	// RequireConnected only selects agents with active WebSocket connections, to
	// whichever replica (default: true). Since true is the default, false means the same: see
	// AllowDisconnected.
	RequireConnected bool

	// IgnoreLoad opts out of PreferLowLoad, whatever that says: any fit agent
	// is as good as another. A full agent still is not fit.
	IgnoreLoad bool
	// AllowDisconnected opts out of RequireConnected, whatever that says: an
	// agent that is online and has a recent heartbeat will do.
	AllowDisconnected bool

	// Platforms are those that the template runs on; empty means any.
	Platforms []string
	// Labels restricts selection to agents with such labels (optional)
	Labels models.Selector
	// Needs are the commands that an agent of platform process must have. An
	// agent that never said what it has counts as having them.
	Needs []models.Need
	// Reserve is what the session takes. Its Sessions are 1 by default.
	Reserve models.Amount
	// Template is what is to run, so that agents that keep failing to start it
	// are passed over (optional)
	Template string
	// Avoid lists agents on which the session has failed to start.
	Avoid []string
	// Preferences make one fit agent better than another.
	Preferences models.Preferences
	// UserID is whose session it is; users' sessions are kept apart where
	// agents are nearly as good. Empty means that it does not matter.
	UserID string
	// SessionID decides between agents that are equally good, so that many
	// sessions spread; empty means by chance.
	SessionID string
}

// requirements are what an agent must be. Connections are not among them: that
// is for whoever looks at the agents.
func (c SelectionCriteria) requirements() models.Requirements {
	return models.Requirements{
		Platform: c.Platform, Platforms: c.Platforms, ClusterID: c.ClusterID, Region: c.Region,
		Labels: c.Labels, Needs: c.Needs, Reserve: c.reserves(), Avoid: c.Avoid,
	}
}

// kind names what decides whether an agent can take the session: for sessions
// of one kind there is one, or there is none for the same reasons.
func (c SelectionCriteria) kind() (string, error) {
	body, err := json.Marshal(struct {
		models.Requirements
		Template string
	}{c.requirements(), c.Template})
	if err != nil {
		return "", fmt.Errorf("name a kind of session: %w", err)
	}
	return string(body), nil
}

// restricts tells whether there can be agents, with whatever room, that may not
// take such a session.
func (c SelectionCriteria) restricts() bool {
	return c.Platform != "" || c.ClusterID != "" || c.Region != "" || len(c.Platforms) > 0 || len(c.Labels) > 0 || len(c.Needs) > 0
}

// appendKind appends a name of what restricts says, the same one for the same
// restrictions alone. It takes a fraction of the time of a decision.
func (c SelectionCriteria) appendKind(to []byte) []byte {
	text := func(said string) {
		to = binary.AppendUvarint(to, uint64(len(said)))
		to = append(to, said...)
	}
	list := func(said []string) {
		to = binary.AppendUvarint(to, uint64(len(said)))
		for _, one := range said {
			text(one)
		}
	}
	text(c.Platform)
	text(c.ClusterID)
	text(c.Region)
	list(c.Platforms)
	to = binary.AppendUvarint(to, uint64(len(c.Labels)))
	for _, wanted := range c.Labels {
		text(wanted.Key)
		text(string(wanted.Operator))
		list(wanted.Values)
	}
	for _, need := range c.Needs {
		text(need.Command)
	}
	return to
}

// reserves is what the session takes from its agent.
func (c SelectionCriteria) reserves() models.Amount {
	reserve := c.Reserve
	reserve.Sessions = max(1, reserve.Sessions)
	return reserve
}

// validate checks what people write.
func (c SelectionCriteria) validate() error {
	if err := c.Labels.Validate(); err != nil {
		return err
	}
	return c.Preferences.Validate()
}
