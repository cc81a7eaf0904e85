package db_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// means checks which template a name means, by its title, and where it is from.
func (w *world) means(name, want string) {
	w.t.Helper()
	entry, err := w.CatalogueEntry(w.t.Context(), name)
	if want == "" {
		refused(w.t, err, models.CodeTemplateUnknown)
		return
	}
	must(w.t, err)
	if got := fmt.Sprint(entry.Spec.DisplayName, " ", entry.Source, " ", entry.AppliedBy); got != want {
		w.t.Errorf("%s means %q, want %q", name, got, want)
	}
}

func TestAppliedTemplatesCountFirst(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		start := func() {
			must(t, w.SaveTemplates(ctx, []models.Template{template("a", "A"), template("b", "B")}, []models.Template{template("b", "own B"), template("c", "own C")}, noon))
		}
		start()
		w.means("a", "A built-in ")
		w.means("b", "own B file ")
		for i, name := range []string{"a", "b", "d"} {
			must(t, w.ApplyTemplate(ctx, template(name, "applied"), "ann", noon))
			must(t, w.ApplyTemplate(ctx, template(name, fmt.Sprint("applied ", i)), "bob", noon.Add(time.Minute)))
		}
		start() // as another replica, or after a restart
		for i, name := range []string{"a", "b", "d"} {
			w.means(name, fmt.Sprint("applied ", i, " applied bob"))
		}
		w.means("c", "own C file ")
		var names []string
		for _, one := range pages(t, 2, func(page db.Page) ([]models.CatalogueEntry, string, error) { return w.Templates(ctx, page) }) {
			names = append(names, one.Metadata.Name)
		}
		equal(t, "each name is listed once", names, []string{"a", "b", "c", "d"})

		for _, name := range []string{"a", "b", "d"} {
			must(t, w.DeleteTemplate(ctx, name))
		}
		w.means("a", "A built-in ")
		w.means("b", "own B file ")
		w.means("d", "")
		refused(t, w.DeleteTemplate(ctx, "a"), models.CodeTemplateFixed)
		refused(t, w.DeleteTemplate(ctx, "b"), models.CodeTemplateFixed)
		refused(t, w.DeleteTemplate(ctx, "d"), models.CodeTemplateUnknown)
	})
}

// Of several that apply one template at once, all succeed.
func TestTemplatesAreAppliedByReplicasAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, err := range together(8, func(i int) error {
			return w.ApplyTemplate(t.Context(), template("a", fmt.Sprint(i)), "ann", noon)
		}) {
			must(t, err)
		}
		if entry, err := w.CatalogueEntry(t.Context(), "a"); err != nil || entry.Source != models.SourceApplied {
			t.Errorf("it is %+v, %v", entry, err)
		}
	})
}

func TestNeedsOfTheWholeCatalogue(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		needing := func(name string, commands ...string) models.Template {
			made := template(name, name)
			made.Spec.Process.Needs = nil
			for _, command := range commands {
				made.Spec.Process.Needs = append(made.Spec.Process.Needs, models.Need{Command: command})
			}
			return made
		}
		image := template("image", "image")
		image.Spec.Process = nil
		must(t, w.SaveTemplates(ctx, nil, []models.Template{needing("a", "xterm", "Xvnc"), needing("b", "xterm"), needing("c", "gone"), image}, noon))
		must(t, w.ApplyTemplate(ctx, needing("c", "icewm"), "ann", noon))
		needs, err := w.TemplateNeeds(ctx)
		must(t, err)
		if want := []string{"Xvnc", "icewm", "xterm"}; !slices.Equal(needs, want) {
			t.Errorf("the needs are %v, want %v", needs, want)
		}
	})
}
