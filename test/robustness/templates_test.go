package robustness

import (
	"context"
	"testing"

	"github.com/streamspace/streamspace/models"
)

// applications are the moments in which a control plane is killed that applies
// a template.
func applications() []string { return []string{"template-uncommitted", "template-committed"} }

// A template is applied as a whole or not at all, and can be applied again; once
// somebody heard that it is, it is there after every kill.
func TestKillWhileATemplateIsApplied(t *testing.T) {
	t.Parallel()
	template := models.Template{APIVersion: "streamspace.io/v1", Kind: "Template", Metadata: models.TemplateMetadata{Name: "applied"},
		Spec: models.TemplateSpec{DisplayName: "Applied", Protocol: models.ProtocolTerminal, Platforms: []string{models.PlatformProcess},
			Process: &models.ProcessSpec{Command: []string{"sh"}}}}
	for _, point := range applications() {
		t.Run(point, func(t *testing.T) {
			w := newWorld(t, failpointBinary(t), "")
			w.startServer()
			w.faults.arm(point, 1, "kill")
			ctx, cancel := context.WithTimeout(t.Context(), recoverWithin)
			defer cancel()
			if _, err := w.api().ApplyTemplate(ctx, template); err == nil {
				t.Fatal("the server lives")
			}
			<-w.server.Exited()
			w.startServer()
			if _, err := w.api().Template(t.Context(), "applied"); (err == nil) != (point == "template-committed") {
				t.Errorf("after the kill, the template is there: %v", err)
			}
			if _, err := w.api().ApplyTemplate(t.Context(), template); err != nil {
				t.Fatal(err)
			}
			w.server.Kill()
			w.startServer()
			if found, err := w.api().Template(t.Context(), "applied"); err != nil || found.Source != models.SourceApplied {
				t.Errorf("it is %+v, %v", found, err)
			}
		})
	}
}
