package models_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/streamspace/streamspace/models"
)

// Agents of others say in their own way what they have.
func TestLimit(t *testing.T) {
	const none = models.Unlimited
	for said, want := range map[string]models.Amount{
		`{}`:                                 {Sessions: none, CPU: none, Memory: none},
		`null`:                               {Sessions: none, CPU: none, Memory: none},
		`{"maxSessions":0}`:                  {Sessions: none, CPU: none, Memory: none},
		`{"maxSessions":7}`:                  {Sessions: 7, CPU: none, Memory: none},
		`{"maxSessions":7.9}`:                {Sessions: 7, CPU: none, Memory: none},
		`{"maxSessions":-1}`:                 {Sessions: none, CPU: none, Memory: none},
		`{"maxSessions":"7"}`:                {Sessions: 7, CPU: none, Memory: none},
		`{"maxSessions":[7]}`:                {Sessions: none, CPU: none, Memory: none},
		`{"sessions":7}`:                     {Sessions: none, CPU: none, Memory: none},
		`{"cpu":8,"memory":"16Gi","gpus":2}`: {Sessions: none, CPU: 8000, Memory: 16 << 30, GPUs: 2},
		`{"cpu":"8","memory":17179869184,"gpus":"1"}`:                  {Sessions: none, CPU: 8000, Memory: 16 << 30, GPUs: 1},
		`{"cpu":"8","memory":"16Gi","gpus":1,"allocatable":{}}`:        {Sessions: none, CPU: none, Memory: none, GPUs: 1},
		`{"cpu":"8","allocatable":{"cpu":"7500m","memory":"1Gi"}}`:     {Sessions: none, CPU: 7500, Memory: 1 << 30},
		`{"cpu":"much","memory":true,"allocatable":"all","gpus":-1}`:   {Sessions: none, CPU: none, Memory: none},
		`{"maxSessions":9,"allocatable":{"maxSessions":4,"gpus":1.0}}`: {Sessions: 4, CPU: none, Memory: none, GPUs: 1},
	} {
		var agent models.Agent
		if err := json.Unmarshal([]byte(`{"capacity":`+said+`}`), &agent); err != nil {
			t.Fatal(err)
		}
		if got := agent.Limit(); got != want {
			t.Errorf("sessions may have %+v of an agent with %s, want %+v", got, said, want)
		}
	}
	for _, limit := range []any{7, int64(7), 7.0} {
		if got := (models.Agent{Capacity: map[string]any{"maxSessions": limit}}).Limit().Sessions; got != 7 {
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
