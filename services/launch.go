package services

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
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
	// Resources come from the template where they are empty.
	Resources models.Resources
	Owner     models.User
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
	body, err := json.Marshal([]string{r.Name, r.Template, r.Region, r.ClusterID, r.Platform, r.Resources.CPU, r.Resources.Memory})
	if err != nil {
		return "", fmt.Errorf("hash launch request: %w", err)
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:]), nil
}

func (r LaunchRequest) criteria(template models.Template) *SelectionCriteria {
	criteria := &SelectionCriteria{
		ClusterID: r.ClusterID, Region: r.Region, Platform: r.Platform,
		PreferLowLoad: true, RequireConnected: true,
		Platforms: template.Spec.Platforms, SessionID: r.ID,
	}
	if template.Spec.Process != nil {
		criteria.Needs = template.Spec.Process.Needs
	}
	return criteria
}

// reserves is what the session takes from its agent.
func (c SelectionCriteria) reserves() models.Amount { return models.Amount{Sessions: 1} }

// startPayload is what the agent is told, in the agent protocol's words.
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
