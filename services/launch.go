package services

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

const (
	// DefaultWaitFor is how long a session waits for an agent.
	DefaultWaitFor = 10 * time.Minute
	maxWait        = 24 * time.Hour
	maxPriority    = 100
)

// maxName bounds what a person writes to name or restrict a session, in
// characters.
const maxName = 100

// LaunchRequest is what an owner asks for. Empty fields restrict nothing.
type LaunchRequest struct {
	// ID is the session's id, [a-z0-9][a-z0-9-]{0,62}; empty means a made-up
	// one. With an id, the request is safe to repeat.
	ID string
	// Name is shown to people; the template's display name by default.
	Name     string
	Template string
	// Region, ClusterID and Platform restrict the choice of agent.
	Region, ClusterID, Platform string
	// Labels restrict it to agents with such labels, and Preferences make one
	// better than another.
	Labels      models.Selector
	Preferences models.Preferences
	// Resources come from the template where they are empty.
	Resources models.Resources
	// Priority comes before age when sessions wait for an agent: -100 to 100,
	// higher first; 0.
	Priority int64
	// Wait is how long the session may wait for an agent; nil is the default, 0
	// is not at all, and a day the longest.
	Wait *time.Duration
	// IdleTimeout and MaxDuration are time limits as the template has them, such
	// as 30m; they set some where the template has none, and shorten those that
	// it has.
	IdleTimeout, MaxDuration string
	Owner                    models.User
}

// wish is what a request says of the agent that is to get the session, as it is
// kept for placing the session later or again.
type wish struct {
	Region    string `json:"region,omitempty"`
	ClusterID string `json:"clusterId,omitempty"`
	Platform  string `json:"platform,omitempty"`

	Labels      models.Selector    `json:"labels,omitempty"`
	Preferences models.Preferences `json:"preferences,omitzero"`
}

func (r LaunchRequest) asks() wish {
	return wish{Region: r.Region, ClusterID: r.ClusterID, Platform: r.Platform, Labels: r.Labels, Preferences: r.Preferences}
}

func (r LaunchRequest) wish() (json.RawMessage, error) {
	body, err := json.Marshal(r.asks())
	if err != nil {
		return nil, fmt.Errorf("encode placement: %w", err)
	}
	return body, nil
}

func (r LaunchRequest) validate() error {
	if r.ID != "" && !validSessionID(r.ID) {
		return models.Errorf(models.CodeInvalidRequest,
			"the session id %q must be lower case letters, digits and dashes, at most 63, and not begin with a dash", r.ID)
	}
	if r.Template == "" {
		return models.Errorf(models.CodeInvalidRequest, "the request names no template; `streamspace templates list` shows them")
	}
	if r.Owner.ID == "" {
		return models.Errorf(models.CodeInvalidRequest, "the request has no owner")
	}
	for _, field := range []struct{ what, text string }{
		{"template", r.Template}, {"name", r.Name}, {"region", r.Region}, {"cluster id", r.ClusterID}, {"platform", r.Platform},
	} {
		if !utf8.ValidString(field.text) || utf8.RuneCountInString(field.text) > maxName ||
			strings.ContainsFunc(field.text, unicode.IsControl) {
			return models.Errorf(models.CodeInvalidRequest,
				"the %s must be at most %d characters, without control characters", field.what, maxName)
		}
	}
	if r.Priority < -maxPriority || r.Priority > maxPriority {
		return models.Errorf(models.CodeInvalidRequest, "the priority is %d; it must be from %d to %d", r.Priority, -maxPriority, maxPriority)
	}
	if r.Wait != nil && (*r.Wait < 0 || *r.Wait > maxWait) {
		return models.Errorf(models.CodeInvalidRequest, "the session is to wait for %v; it must be from 0 to %v", *r.Wait, maxWait)
	}
	if err := r.criteria(models.Template{}).validate(); err != nil {
		return err
	}
	return r.Resources.Validate()
}

func validSessionID(id string) bool {
	return id != "" && len(id) <= 63 && id[0] != '-' && !strings.ContainsFunc(id, func(r rune) bool {
		return r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

// hash identifies the request as it was made, whatever defaults it met: the
// template may change between a request and its repeat.
func (r LaunchRequest) hash() (string, error) {
	asked := []any{r.Name, r.Template, r.Region, r.ClusterID, r.Platform, r.Resources.CPU, r.Resources.Memory}
	// What earlier versions did not know is left out when it was not asked for.
	if r.Resources.GPUs != 0 || r.Priority != 0 || r.Wait != nil {
		asked = append(asked, r.Resources.GPUs, r.Priority, r.Wait)
	}
	if len(r.Labels) > 0 || !reflect.ValueOf(r.Preferences).IsZero() {
		asked = append(asked, r.Labels, r.Preferences)
	}
	if r.IdleTimeout != "" || r.MaxDuration != "" {
		asked = append(asked, r.IdleTimeout, r.MaxDuration)
	}
	body, err := json.Marshal(asked)
	if err != nil {
		return "", fmt.Errorf("hash launch request: %w", err)
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:]), nil
}

func (r LaunchRequest) criteria(template models.Template) *SelectionCriteria {
	return r.asks().criteria(r.ID, template, r.Resources.Or(template.Spec.DefaultResources))
}

func (w wish) criteria(sessionID string, template models.Template, resources models.Resources) *SelectionCriteria {
	criteria := &SelectionCriteria{
		ClusterID: w.ClusterID, Region: w.Region, Platform: w.Platform,
		PreferLowLoad: true, RequireConnected: true,
		Labels: w.Labels, Preferences: w.Preferences,
		Platforms: template.Spec.Platforms, Reserve: resources.Reserves(), SessionID: sessionID, Template: template.Metadata.Name,
	}
	if criteria.Preferences.Image == "" {
		criteria.Preferences.Image = models.ImageName(template.Spec.BaseImage)
	}
	if template.Spec.Process != nil {
		criteria.Needs = template.Spec.Process.Needs
	}
	return criteria
}

// startPayload is what the agent is told, in the agent protocol's words.
// startCommand starts a session on its agent, with the template as it was
// resolved at launch.
func startCommand(session models.Session, commandID string, now time.Time, deadline time.Duration) (models.AgentCommand, error) {
	payload, err := startPayload(session)
	return models.AgentCommand{
		CommandID: commandID, AgentID: session.AgentID, SessionID: session.ID, Generation: session.Generation,
		Action: models.ActionStartSession, Payload: payload, Status: models.CommandPending,
		CreatedAt: now, DeadlineAt: now.Add(deadline),
	}, err
}

func startPayload(session models.Session) (*models.CommandPayload, error) {
	body, err := json.Marshal(wire.StartPayload{
		SessionID: session.ID, Generation: session.Generation, User: session.User, Template: session.Template,
		CPU: session.Resources.CPU, Memory: session.Resources.Memory,
		PersistentHome: session.Spec.Spec.PersistentHome, Manifest: session.Spec,
	})
	if err != nil {
		return nil, fmt.Errorf("encode start payload: %w", err)
	}
	payload := models.CommandPayload{}
	if err := json.Unmarshal(body, &payload); err != nil {
		return nil, fmt.Errorf("encode start payload: %w", err)
	}
	return &payload, nil
}
