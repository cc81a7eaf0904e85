package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// templateRoutes are templates as users see them.
type templateRoutes struct {
	database *db.Database
}

// TemplateView is a template, and whether it can be launched now.
type TemplateView struct {
	Name        string           `json:"name"`
	DisplayName string           `json:"displayName"`
	Description string           `json:"description,omitempty"`
	Icon        string           `json:"icon,omitempty" doc:"desktop, browser, terminal or app"`
	Protocol    models.Protocol  `json:"protocol" doc:"what its sessions' streams speak"`
	Platforms   []string         `json:"platforms" nullable:"false" doc:"where it can run; empty means anywhere"`
	Resources   models.Resources `json:"resources" doc:"what a session may use unless the launch says otherwise"`
	KeepsHome   bool             `json:"persistentHome" doc:"whether its sessions' homes are kept, so that they can hibernate"`
	Available   bool             `json:"available" doc:"whether some online agent that is not cordoned has all that it needs"`
	Reason      string           `json:"reason,omitempty" doc:"why it is not available, and what to do"`
	Missing     []models.Need    `json:"missing,omitempty" doc:"what to install on the agent that lacks least"`

	models.TimeLimits
}

// TemplateParam names a template.
type TemplateParam struct {
	Name string `path:"name" maxLength:"63" pattern:"^[a-z0-9][a-z0-9-]*$" patternDescription:"a template's name: lower case letters, digits and dashes"`
}

func (t *templateRoutes) register(r *router) {
	register(r, operation(accessUser, http.MethodGet, base+"/templates", "list-templates", tagTemplates,
		"List templates"), t.list)
	register(r, operation(accessUser, http.MethodGet, base+"/templates/{name}", "show-template", tagTemplates,
		"Show a template", http.StatusNotFound), t.show)
}

func (t *templateRoutes) list(ctx context.Context, input *PageParams) (*listOutput[TemplateView], error) {
	templates, next, err := t.database.Templates(ctx, input.page())
	if err != nil {
		return nil, err
	}
	agents, err := t.database.Candidates(ctx, db.AgentFilter{})
	if err != nil {
		return nil, err
	}
	views := make([]TemplateView, 0, len(templates))
	for _, template := range templates {
		views = append(views, view(template, agents))
	}
	return listed(views, next, nil)
}

func (t *templateRoutes) show(ctx context.Context, input *TemplateParam) (*output[TemplateView], error) {
	template, err := t.database.Template(ctx, input.Name)
	if err != nil {
		return nil, err
	}
	agents, err := t.database.Candidates(ctx, db.AgentFilter{})
	if err != nil {
		return nil, err
	}
	return &output[TemplateView]{Body: view(template, agents)}, nil
}

// view shows a template beside what the agents have.
func view(template models.Template, agents []models.Agent) TemplateView {
	spec := template.Spec
	shown := TemplateView{
		Name:        template.Metadata.Name,
		DisplayName: spec.DisplayName,
		Description: spec.Description,
		Icon:        spec.Icon,
		Protocol:    spec.Protocol,
		Platforms:   spec.Platforms,
		Resources:   spec.DefaultResources,
		KeepsHome:   spec.PersistentHome,
		TimeLimits:  spec.TimeLimits(),
	}
	if shown.DisplayName == "" {
		shown.DisplayName = shown.Name
	}
	if shown.Protocol == "" {
		shown.Protocol = models.ProtocolVNC
	}
	if shown.Platforms == nil {
		shown.Platforms = []string{}
	}
	shown.Available, shown.Reason, shown.Missing = availability(template, agents)
	return shown
}

// availability tells whether some agent could run the template, and otherwise
// what is nearest to making one able to. How full agents are is left out: that
// passes, and launching tells.
func availability(template models.Template, agents []models.Agent) (available bool, reason string, missing []models.Need) {
	online, cordoned := 0, 0
	var nearest *models.Agent
	var lacks []string
	for i, agent := range agents {
		if agent.Status != models.AgentOnline {
			continue
		}
		if agent.Cordoned {
			cordoned++
			continue
		}
		online++
		if !template.RunsOn(agent.Platform) {
			continue
		}
		lacking := agent.Lacks(template.Needs())
		if len(lacking) == 0 {
			return true, "", nil
		}
		if nearest == nil || len(lacking) < len(lacks) {
			nearest, lacks = &agents[i], lacking
		}
	}
	switch {
	case len(agents) == 0:
		return false, "no agent has registered yet; start one with: streamspace agent", nil
	case online == 0 && cordoned > 0:
		return false, "every agent that is online is cordoned; let one take sessions again with: streamspace agents uncordon AGENT", nil
	case online == 0:
		return false, "no agent is online; start one, or look at: streamspace agents list", nil
	case nearest == nil:
		return false, fmt.Sprintf("no online agent is of platform %s", strings.Join(template.Spec.Platforms, " or ")), nil
	}
	for _, need := range template.Spec.Process.Needs {
		if slices.Contains(lacks, need.Command) {
			missing = append(missing, need)
		}
	}
	return false, fmt.Sprintf("agent %s lacks %s; install what is missing there", nearest.ID, strings.Join(lacks, ", ")), missing
}
