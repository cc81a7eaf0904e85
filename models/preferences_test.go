package models_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/models"
)

func TestPreferencesValidate(t *testing.T) {
	for name, test := range map[string]struct {
		said string
		part string // nothing when they are valid
	}{
		"none": {`{}`, ""},
		"all": {`{"regions":["eu"],"clusters":["a","b"],"strategy":"bin-pack","spreadOver":"region","homeAgent":"a","image":"example.com/desk:1"}`,
			""},
		"words":           {`{"strategy":"least-loaded","spreadOver":"cluster"}`, ""},
		"strategy":        {`{"strategy":"random"}`, `strategy "random" is not known; use least-loaded or bin-pack`},
		"spread":          {`{"spreadOver":"agent"}`, `"agent"; use region or cluster`},
		"empty region":    {`{"regions":["eu",""]}`, "a region that is empty"},
		"empty cluster":   {`{"clusters":[""]}`, "a cluster that is empty"},
		"controls":        {`{"clusters":["a\n"]}`, "preferred cluster must be at most 100"},
		"long home":       {`{"homeAgent":"` + strings.Repeat("a", 101) + `"}`, "home agent must be at most 100"},
		"long image":      {`{"image":"` + strings.Repeat("a", 513) + `"}`, "image must be at most 512"},
		"too many":        {`{"regions":["a"` + strings.Repeat(`,"a"`, 32) + `]}`, "33 regions; keep at most 32"},
		"just long names": {`{"homeAgent":"` + strings.Repeat("ä", 100) + `"}`, ""},
	} {
		var preferences models.Preferences
		if err := json.Unmarshal([]byte(test.said), &preferences); err != nil {
			t.Fatal(err)
		}
		err := preferences.Validate()
		if test.part == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if test.part != "" && (models.CodeOf(err) != models.CodeInvalidRequest || !strings.Contains(err.Error(), test.part)) {
			t.Errorf("%s: %v does not say %q", name, err, test.part)
		}
		if body, err := json.Marshal(preferences); err != nil || name != "controls" && string(body) != test.said {
			t.Errorf("%s: written as %s (%v)", name, body, err)
		}
	}
}
