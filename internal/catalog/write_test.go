package catalog_test

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/internal/catalog"
	"github.com/streamspace/streamspace/models"
)

// reread writes a template and reads it again.
func reread(t interface{ Fatalf(string, ...any) }, template models.Template) models.Template {
	written := catalog.Write(template)
	read, problems := catalog.Read("written.yaml", written)
	if len(problems) > 0 || len(read) != 1 {
		t.Fatalf("reading what was written gives %v\n%s", problems, written)
	}
	return read[0]
}

func TestWhatIsWrittenIsReadAsTheSame(t *testing.T) {
	templates, err := catalog.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, template := range templates {
		if read := reread(t, template); !reflect.DeepEqual(read, template) {
			t.Errorf("written %+v\nread    %+v", template, read)
		}
	}
	served, problems := catalog.Read("pages.yaml", []byte(withPages("{}")))
	if len(problems) > 0 || !reflect.DeepEqual(reread(t, served[0]), served[0]) {
		t.Errorf("%v, read again as %+v", problems, reread(t, served[0]))
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("aZ09 :#-'\"\\{}[]&*!|>%@`~,.?\n\tä世=<\u2028\r\v")), 0, 12, -1)
		line := rapid.StringOfN(rapid.RuneFrom([]rune("aZ09 :#-'\"\\{}[]&*!|>%@`~,.?ä世=<")), 1, 12, -1)
		template := models.Template{APIVersion: "streamspace.io/v1", Kind: "Template", Metadata: models.TemplateMetadata{Name: rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,9}`).Draw(t, "name")}}
		template.Spec = models.TemplateSpec{
			DisplayName: line.Draw(t, "title"), Protocol: models.ProtocolTerminal, Platforms: []string{"process"},
			Env:     []models.EnvVar{{Name: "A", Value: text.Draw(t, "value")}},
			Process: &models.ProcessSpec{Command: append([]string{"sh"}, rapid.SliceOfN(text, 1, 3).Draw(t, "arguments")...)},
		}
		if read := reread(t, template); !reflect.DeepEqual(read, template) {
			t.Fatalf("written %+v\nread    %+v", template.Spec, read.Spec)
		}
	})
}

func TestEmptyFieldsAreNotWritten(t *testing.T) {
	read, problems := catalog.Read("good.yaml", []byte(good))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if written := catalog.Write(read[0]); string(written) != wantGood {
		t.Errorf("written:\n%s", written)
	}
}

const wantGood = `apiVersion: streamspace.io/v1
kind: Template
metadata:
  name: editor
spec:
  displayName: Editor
  protocol: terminal
  platforms:
    - process
  process:
    command:
      - vi
`
