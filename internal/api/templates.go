package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/internal/catalog"
	"github.com/streamspace/streamspace/models"
)

// templateRoutes are templates as users see them.
type templateRoutes struct {
	database *db.Database
	now      func() time.Time
	logger   *slog.Logger
}

// TemplateView is a template, and whether it can be launched now.
type TemplateView struct {
	Name        string                `json:"name"`
	DisplayName string                `json:"displayName"`
	Description string                `json:"description,omitempty"`
	Icon        string                `json:"icon,omitempty" doc:"desktop, browser, terminal or app"`
	Protocol    models.Protocol       `json:"protocol" doc:"what its sessions' streams speak"`
	Platforms   []string              `json:"platforms" nullable:"false" doc:"where it can run; empty means anywhere"`
	Resources   models.Resources      `json:"resources" doc:"what a session may use unless the launch says otherwise"`
	Source      models.TemplateSource `json:"source" enum:"built-in,file,applied" doc:"where it comes from: of several with one name an applied one counts before one of a file, and that before a built-in one"`
	AppliedBy   string                `json:"appliedBy,omitempty" doc:"who applied it"`
	UpdatedAt   time.Time             `json:"updatedAt" doc:"when it was applied, or read at a start of the control plane"`
	KeepsHome   bool                  `json:"persistentHome" doc:"whether its sessions' homes are kept, so that they can hibernate"`
	Available   bool                  `json:"available" doc:"whether some online agent that is not cordoned has all that it needs"`
	Reason      string                `json:"reason,omitempty" doc:"why it is not available, and what to do"`
	Missing     []models.Need         `json:"missing,omitempty" doc:"what to install on the agent that lacks least"`

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
	register(r, operation(accessUser, http.MethodGet, base+"/templates/{name}/manifest", "show-template-manifest", tagTemplates,
		"Show all of a template, as it can be applied", http.StatusNotFound), t.manifest)
	apply := operation(accessAdmin, http.MethodPut, base+"/templates/{name}", "apply-template", tagTemplates,
		"Apply a template: keep it until it is deleted, in place of any other of its name; safe to repeat", append(bodyErrors(), http.StatusUnprocessableEntity)...)
	apply.Description = "Sessions that run keep the template that they were launched with."
	register(r, apply, t.apply)
	remove := operation(accessAdmin, http.MethodDelete, base+"/templates/{name}", "delete-template", tagTemplates,
		"Delete a template that was applied", http.StatusNotFound, http.StatusConflict)
	remove.Description = "One of its name that is of a file or built in counts again. Sessions that run keep the template that they were launched with."
	register(r, remove, t.remove)
}

type applyInput struct {
	TemplateParam
	Body models.Template
}

func (t *templateRoutes) apply(ctx context.Context, input *applyInput) (*output[TemplateView], error) {
	template, mistakes := catalog.Check(input.Body)
	if len(mistakes) > 0 {
		problem := newProblem(ctx, models.CodeTemplateInvalid, "the template is wrong")
		var told []string
		for _, wrong := range mistakes {
			problem.Errors = append(problem.Errors, FieldError{Location: strings.TrimSuffix("body."+wrong.Field, "."), Message: wrong.Message})
			told = append(told, wrong.Field+" "+wrong.Message)
		}
		problem.Detail += ": " + strings.Join(told, "; ")
		return nil, problem
	}
	if template.Metadata.Name != input.Name {
		return nil, models.Errorf(models.CodeInvalidRequest, "the template's metadata.name is %q, and the path names %q; let them be the same",
			template.Metadata.Name, input.Name)
	}
	by := userOf(ctx).Name
	if err := t.database.ApplyTemplate(ctx, template, by, t.now()); err != nil {
		return nil, err
	}
	//failpoint:template-committed
	t.logger.InfoContext(ctx, "a template is applied", "template", input.Name, "by", by)
	return t.show(ctx, &input.TemplateParam)
}

// DeletedTemplate is a template that was deleted.
type DeletedTemplate struct {
	Name string `json:"name"`
	// Uncovered is empty if nothing has the name now.
	Uncovered models.TemplateSource `json:"uncovered,omitempty" enum:"built-in,file,applied" doc:"where the template comes from that the name means now; absent if there is none"`
}

func (t *templateRoutes) remove(ctx context.Context, input *TemplateParam) (*output[DeletedTemplate], error) {
	if err := t.database.DeleteTemplate(ctx, input.Name); err != nil {
		return nil, err
	}
	t.logger.InfoContext(ctx, "a template is deleted", "template", input.Name, "by", userOf(ctx).Name)
	entry, err := t.database.CatalogueEntry(ctx, input.Name)
	if err != nil && models.CodeOf(err) != models.CodeTemplateUnknown {
		return nil, err
	}
	return &output[DeletedTemplate]{Body: DeletedTemplate{Name: input.Name, Uncovered: entry.Source}}, nil
}

func (t *templateRoutes) manifest(ctx context.Context, input *TemplateParam) (*output[models.Template], error) {
	template, err := t.database.Template(ctx, input.Name)
	if err != nil {
		return nil, err
	}
	return &output[models.Template]{Body: template}, nil
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
	template, err := t.database.CatalogueEntry(ctx, input.Name)
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
func view(entry models.CatalogueEntry, agents []models.Agent) TemplateView {
	template, spec := entry.Template, entry.Spec
	shown := TemplateView{
		Source:      entry.Source,
		AppliedBy:   entry.AppliedBy,
		UpdatedAt:   entry.UpdatedAt,
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
