package models_test

import (
	"testing"

	"github.com/streamspace/streamspace/models"
)

func TestExpand(t *testing.T) {
	variables := []models.EnvVar{{Name: "PW", Value: "$(USER)"}, {Name: "USER", Value: "me"}}
	for text, want := range map[string]string{
		"": "", "plain $PW": "plain $PW", "$(PW)": "$(USER)", "a$(USER)b$(USER)": "amebme", "$(NONE) $(": "$(NONE) $(",
	} {
		if got := models.Expand(text, variables); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
	if names := models.References("$(A) $(b_1) $(1)"); len(names) != 2 || names[0] != "A" || names[1] != "b_1" {
		t.Errorf("the references are %q", names)
	}
}

func TestPagePrefix(t *testing.T) {
	var template models.Template
	template.Spec.Env = make([]models.EnvVar, 1, 8)
	template.Spec.HTTP = &models.HTTP{Path: "/lab?x", PrefixEnv: "SUBFOLDER"}
	one, two := template.WithPagePrefix("one", "KEY"), template.WithPagePrefix("two", "KEY")
	if one.PagePrefix() != "/s/one/KEY" || two.PagePrefix() != "/s/two/KEY" || template.PagePrefix() != "" {
		t.Errorf("the prefixes are %q, %q and %q", one.PagePrefix(), two.PagePrefix(), template.PagePrefix())
	}
	if path := one.HealthPath(); path != "/s/one/KEY/lab?x" {
		t.Errorf("its health is asked for at %q", path)
	}
	template.Spec.HTTP = &models.HTTP{HealthPath: "/health"}
	if plain := template.WithPagePrefix("one", "KEY"); plain.PagePrefix() != "" || len(plain.Spec.Env) != 1 || plain.HealthPath() != "/health" {
		t.Errorf("a session that does not want to know is told %+v", plain.Spec)
	}
}
