package services

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What is kept gives the same verdicts again, those on equals in any order.
func TestKeptVerdictsAreGivenAgain(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	rapid.Check(t, func(t *rapid.T) {
		candidates, want := agentsOf(now).Draw(t, "candidates"), criteriaOf().Draw(t, "criteria")
		verdicts := explain(candidates, want, now.Add(-45*time.Second), DefaultWeights())
		body, err := keep(verdicts, 3)
		if err != nil {
			t.Fatal(err)
		}
		var then kept
		if err := json.Unmarshal(body, &then); err != nil {
			t.Fatal(err)
		}
		again := then.verdicts()
		if then.Left != 3 || len(again) != len(verdicts) || len(again) > 0 && again[0].AgentID != verdicts[0].AgentID {
			t.Fatalf("%+v became %+v", verdicts, again)
		}
		for i, v := range again {
			if same := slices.IndexFunc(verdicts, func(other Verdict) bool { return other.AgentID == v.AgentID }); !reflect.DeepEqual(verdicts[same], v) {
				t.Fatalf("%+v became %+v", verdicts[same], v)
			}
			if v.Score != nil && v.Score.Total != verdicts[i].Score.Total || v.Score == nil && v.AgentID != verdicts[i].AgentID {
				t.Fatalf("%+v is where %+v was", v, verdicts[i])
			}
		}
	})
}

func TestAgentsThatAreAlikeAreKeptTogether(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var candidates []candidate
	for i := range 200 {
		candidates = append(candidates, idle(fmt.Sprint("agent-", i), now, func(c *candidate) { c.Cordoned = i%2 == 0 }))
	}
	body, err := keep(explain(candidates, SelectionCriteria{SessionID: "s"}, now, DefaultWeights()), 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(body) > 200*15 || strings.Count(string(body), "cordoned") != 2 {
		t.Errorf("%d bytes: %s", len(body), body)
	}
}
