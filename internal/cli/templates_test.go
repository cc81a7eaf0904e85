package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const editor = `apiVersion: streamspace.io/v1
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

// file writes a file, and gives where it is.
func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTemplatesAreValidatedWithoutAServer(t *testing.T) {
	right := file(t, "right.yaml", editor+"---\n"+strings.Replace(editor, "editor", "second", 1))
	golden(t, must(t, nil, "templates", "validate", right), "editor is right\nsecond is right")
	golden(t, must(t, nil, "templates", "validate", filepath.Dir(right)), "editor is right\nsecond is right")

	wrong := file(t, "wrong.yaml", strings.Replace(strings.Replace(editor, "terminal", "rdp", 1), "displayName", "dispalyName", 1))
	status, out, said := run(t, nil, "templates", "validate", right, wrong)
	if status != 1 || !strings.Contains(out, "editor is right") {
		t.Errorf("status %d, output %q", status, out)
	}
	if !strings.Contains(said, "\n"+wrong+":6: spec.dispalyName is unknown; allowed here are displayName") {
		t.Errorf("it says %q", said)
	}
	status, out, _ = run(t, nil, "templates", "validate", "-o", "json", right, wrong, "absent.yaml")
	var found struct {
		Right    []string
		Mistakes []struct {
			File, Template, Field, Message string
			Line                           int
		}
	}
	if err := json.Unmarshal([]byte(out), &found); err != nil || status != 1 || len(found.Right) != 2 || len(found.Mistakes) != 2 {
		t.Fatalf("status %d, %v, output %s", status, err, out)
	}
	if first := found.Mistakes[0]; first.File != wrong || first.Template != "editor" || first.Line != 6 || first.Field != "spec.dispalyName" {
		t.Errorf("the first mistake is %+v", first)
	}
	if second := found.Mistakes[1]; !strings.Contains(second.Message, "absent.yaml") {
		t.Errorf("the second mistake is %+v", second)
	}
}

func TestTemplatesAreAppliedShownAndDeleted(t *testing.T) {
	env := serve(t, strings.Replace(editor, "Editor", "The file's", 1))
	golden(t, must(t, env, "templates", "apply", file(t, "editor.yaml", editor)),
		"Template editor is applied. Available: no: no agent has registered yet; start one with: streamspace agent")
	if shown := must(t, env, "templates", "show", "editor"); shown != editor {
		t.Errorf("shown\n%s\nwant\n%s", shown, editor)
	}
	// What is shown can be applied.
	desktop := must(t, env, "templates", "show", "desktop")
	must(t, env, "templates", "apply", file(t, "desktop.yaml", strings.Replace(desktop, "name: desktop", "name: mine", 1)))
	var manifest struct {
		Metadata struct{ Name string }
	}
	if err := json.Unmarshal([]byte(must(t, env, "templates", "show", "mine", "-o", "json")), &manifest); err != nil || manifest.Metadata.Name != "mine" {
		t.Errorf("shown as JSON: %+v, %v", manifest, err)
	}
	list := must(t, env, "templates", "list")
	for name, source := range map[string]string{"editor": "applied", "mine": "applied", "desktop": "built-in"} {
		if !hasLine(list, name, source) {
			t.Errorf("%s is not listed as %s:\n%s", name, source, list)
		}
	}

	golden(t, must(t, env, "templates", "delete", "editor"), "Template editor is deleted. Its name means a template again whose source is file.")
	golden(t, must(t, env, "templates", "delete", "mine"), "Template mine is deleted.")
	for name, want := range map[string]string{"editor": "was not applied: its source is file", "desktop": "its source is built-in", "mine": "See: streamspace templates list"} {
		if status, _, said := run(t, env, "templates", "delete", name); status != 1 || !strings.Contains(said, want) {
			t.Errorf("delete %s: status %d, %q", name, status, said)
		}
	}
}

func hasLine(text string, words ...string) bool {
	for line := range strings.Lines(text) {
		found := true
		for _, word := range words {
			found = found && strings.Contains(" "+line, " "+word)
		}
		if found {
			return true
		}
	}
	return false
}

// Without an agent that has an engine, templates of images say so.
func TestImagesWithoutAnEngine(t *testing.T) {
	env := serve(t)
	connectAgent(t, env["STREAMSPACE_SERVER"], "edge", strings.TrimSpace(must(t, env, "agents", "key", "edge")))
	if list := must(t, env, "templates", "list"); !hasLine(list, "webtop", "http", "built-in", "no: no online agent is of platform docker or kubernetes\n") {
		t.Errorf("listed\n%s", list)
	}
	status, _, said := run(t, env, "session", "launch", "webtop")
	if status != 1 || !strings.Contains(said, "edge") || !strings.Contains(said, "docker") {
		t.Errorf("status %d: %s", status, said)
	}
	out := must(t, env, "session", "launch", "webtop", "--explain")
	if !strings.Contains(out, "edge") || !strings.Contains(out, "docker") {
		t.Errorf("explained as\n%s", out)
	}
}

// Of several templates, of which one is wrong, none is applied.
func TestNothingIsAppliedOfWhatIsWrong(t *testing.T) {
	env := serve(t)
	status, out, said := run(t, env, "templates", "apply", file(t, "right.yaml", editor), file(t, "wrong.yaml", strings.Replace(editor, "editor", "Editor", 1)))
	if status != 1 || out != "" || !strings.Contains(said, "wrong.yaml:4: metadata.name must be") {
		t.Errorf("status %d, %q, %q", status, out, said)
	}
	if strings.Contains(must(t, env, "templates", "list"), "editor") {
		t.Error("the right one was applied")
	}
}

func TestTheSchemaIsPrinted(t *testing.T) {
	committed, err := os.ReadFile("../../docs/template.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if printed := must(t, nil, "templates", "schema"); printed != string(committed) {
		t.Errorf("printed %q", printed)
	}
}
