package models_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/streamspace/streamspace/models"
)

// Agents of others say in their own way how many sessions they take.
func TestMaxSessions(t *testing.T) {
	for said, want := range map[string]int{
		`{}`: 0, `null`: 0, `{"maxSessions":0}`: 0, `{"maxSessions":7}`: 7, `{"maxSessions":7.9}`: 7, `{"maxSessions":-1}`: 0,
		`{"maxSessions":"7"}`: 0, `{"maxSessions":null}`: 0, `{"maxSessions":[7]}`: 0, `{"sessions":7}`: 0,
	} {
		var agent models.Agent
		if err := json.Unmarshal([]byte(`{"capacity":`+said+`}`), &agent); err != nil {
			t.Fatal(err)
		}
		if got := agent.MaxSessions(); got != want {
			t.Errorf("an agent with %s takes %d sessions, want %d", said, got, want)
		}
	}
	for _, limit := range []any{7, int64(7), 7.0} {
		if got := (models.Agent{Capacity: map[string]any{"maxSessions": limit}}).MaxSessions(); got != 7 {
			t.Errorf("%T: %d", limit, got)
		}
	}
}

func TestLacks(t *testing.T) {
	for name, test := range map[string]struct{ has, needs, lacks []string }{
		"never said":      {nil, []string{"a"}, nil},
		"has none":        {[]string{}, []string{"a", "b"}, []string{"a", "b"}},
		"has all":         {[]string{"b", "a", "c"}, []string{"a", "b"}, nil},
		"has some":        {[]string{"b"}, []string{"a", "b", "c"}, []string{"a", "c"}},
		"nothing to have": {[]string{}, nil, nil},
	} {
		agent := models.Agent{Facilities: test.has}
		if got := agent.Lacks(test.needs); !reflect.DeepEqual(got, test.lacks) {
			t.Errorf("%s: it lacks %v, want %v", name, got, test.lacks)
		}
	}
}

func TestRunsOn(t *testing.T) {
	anywhere := models.Template{}
	somewhere := models.Template{Spec: models.TemplateSpec{Platforms: []string{models.PlatformDocker}}}
	for _, test := range []struct {
		template models.Template
		platform string
		want     bool
	}{
		{anywhere, models.PlatformProcess, true},
		{anywhere, "another's", true},
		{somewhere, models.PlatformDocker, true},
		{somewhere, models.PlatformProcess, false},
		{somewhere, "", false},
	} {
		if got := test.template.RunsOn(test.platform); got != test.want {
			t.Errorf("%v on %q: %v", test.template.Spec.Platforms, test.platform, got)
		}
	}
}

func TestNeeds(t *testing.T) {
	if needs := (models.Template{}).Needs(); needs != nil {
		t.Errorf("a template without a process needs %v", needs)
	}
	template := models.Template{Spec: models.TemplateSpec{Process: &models.ProcessSpec{Needs: []models.Need{{Command: "b"}, {Command: "a"}}}}}
	if got, want := template.Needs(), []string{"b", "a"}; !reflect.DeepEqual(got, want) {
		t.Errorf("it needs %v, want %v", got, want)
	}
}
