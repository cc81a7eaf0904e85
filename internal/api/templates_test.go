package api_test

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/internal/api"
	"github.com/streamspace/streamspace/models"
)

// editor is a template that can be applied.
func editor() models.Template {
	return models.Template{APIVersion: "streamspace.io/v1", Kind: "Template", Metadata: models.TemplateMetadata{Name: "editor"},
		Spec: models.TemplateSpec{DisplayName: "Editor", Protocol: models.ProtocolTerminal, Platforms: []string{models.PlatformProcess},
			Process: &models.ProcessSpec{Command: []string{"vi"}}}}
}

func encoded(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	must(t, err)
	return string(text)
}

func TestTemplatesAreApplied(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	root := w.client("root")
	if _, err := root.Template(t.Context(), "editor"); models.CodeOf(codeOf(err)) != models.CodeTemplateUnknown {
		t.Fatalf("before it is applied, it is %v", err)
	}
	for range 2 { // it is safe to repeat
		applied, err := root.ApplyTemplate(t.Context(), editor())
		must(t, err)
		if applied.Name != "editor" || applied.Source != models.SourceApplied || applied.AppliedBy != "root" || applied.UpdatedAt.IsZero() || !applied.Available {
			t.Errorf("applied as %+v", applied)
		}
	}
	ann := w.client("ann")
	manifest, err := ann.TemplateManifest(t.Context(), "editor")
	must(t, err)
	if !reflect.DeepEqual(manifest, editor()) {
		t.Errorf("the manifest is %+v", manifest)
	}

	// A session keeps the template that it was launched with.
	session, err := ann.Launch(t.Context(), client.LaunchRequest{ID: "one", Template: "editor"})
	must(t, err)
	changed := editor()
	changed.Spec.Process.Command = []string{"emacs"}
	_, err = root.ApplyTemplate(t.Context(), changed)
	must(t, err)
	if _, err = root.DeleteTemplate(t.Context(), "editor"); err != nil {
		t.Fatal(err)
	}
	commands, err := root.SessionCommands(t.Context(), session.ID, client.Page{})
	must(t, err)
	if len(commands.Items) == 0 || !strings.Contains(encoded(t, commands.Items[0].Payload), `"vi"`) {
		t.Errorf("the session was begun with %+v", commands.Items)
	}

	// One that was applied covers one of a file.
	desk := editor()
	desk.Metadata.Name = "desk"
	_, err = root.ApplyTemplate(t.Context(), desk)
	must(t, err)
	deleted, err := root.DeleteTemplate(t.Context(), "desk")
	must(t, err)
	if deleted.Uncovered != models.SourceFile {
		t.Errorf("deleted: %+v", deleted)
	}
	w.delete("/api/v1/templates/desk", w.as("root")).problem(http.StatusConflict, models.CodeTemplateFixed, "file")
	w.delete("/api/v1/templates/editor", w.as("root")).problem(http.StatusNotFound, models.CodeTemplateUnknown, "editor")
	w.get("/api/v1/templates/editor/manifest", w.as("ann")).problem(http.StatusNotFound, models.CodeTemplateUnknown, "editor")
}

// codeOf makes a problem's code one of an error.
func codeOf(err error) error {
	if problem, is := err.(*client.Problem); is {
		return &models.Error{Code: problem.Code}
	}
	return err
}

func TestTemplatesThatAreNotApplied(t *testing.T) {
	w := newWorld(t)
	apply := func(user, name string, template any) *answer {
		t.Helper()
		return w.do(http.MethodPut, "/api/v1/templates/"+name, w.as(user), jsonBody(encoded(t, template)))
	}
	apply("ann", "editor", editor()).problem(http.StatusForbidden, models.CodeForbidden, "admin")
	w.delete("/api/v1/templates/desk", w.as("ann")).problem(http.StatusForbidden, models.CodeForbidden, "admin")
	apply("root", "other", editor()).problem(http.StatusBadRequest, models.CodeInvalidRequest, `"editor"`)

	wrong := editor()
	wrong.Spec.Process.Command = nil
	wrong.Spec.Env = []models.EnvVar{{Name: "1A"}}
	answer := apply("root", "editor", wrong)
	answer.problem(http.StatusUnprocessableEntity, models.CodeTemplateInvalid, "spec.process.command must name a program")
	var problem api.Problem
	answer.into(&problem)
	fields := map[string]bool{}
	for _, one := range problem.Errors {
		fields[one.Location] = true
	}
	if len(fields) != 2 || !fields["body.spec.process.command"] || !fields["body.spec.env[0].name"] {
		t.Errorf("the mistakes are at %v", fields)
	}
	w.do(http.MethodPut, "/api/v1/templates/editor", w.as("root"), jsonBody(strings.Replace(encoded(t, editor()), `"displayName"`, `"dispalyName"`, 1))).
		problem(http.StatusBadRequest, models.CodeInvalidRequest, "dispalyName")
	w.do(http.MethodPut, "/api/v1/templates/editor", w.as("root"), body("text/plain", "{}")).
		problem(http.StatusUnsupportedMediaType, models.CodeInvalidRequest, "application/json")
	w.get("/api/v1/templates/editor", w.as("ann")).problem(http.StatusNotFound, models.CodeTemplateUnknown, "editor")
}
