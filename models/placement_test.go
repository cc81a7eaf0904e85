package models_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/streamspace/streamspace/models"
)

// Everything that can be wrong at once is told, in the order of the codes.
func TestRejectGivesEveryReasonInOrder(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	agent := models.Agent{ID: "a", Platform: models.PlatformProcess, Status: models.AgentDraining, Cordoned: true, Facilities: []string{},
		Capacity: map[string]any{"maxSessions": 1}, Reserved: models.Amount{Sessions: 1}}
	wanted := models.Requirements{Platform: "docker", ClusterID: "c", Region: "eu", Labels: models.Selector{{Key: "a", Operator: models.LabelExists}},
		Needs: []models.Need{{Command: "Xvnc"}}, Reserve: models.Amount{Sessions: 1}, Avoid: []string{"a"}}
	codes := func(rejections []models.Rejection) (codes []models.RejectionCode) {
		for _, rejection := range rejections {
			codes = append(codes, rejection.Code)
		}
		return codes
	}
	got := codes(wanted.Reject(agent, models.Sight{Failing: true, Since: now}))
	if want := []models.RejectionCode{"wrong_platform", "wrong_cluster", "wrong_region", "labels_differ", "needs_missing", "failed_before",
		"cordoned", "draining", "not_connected", "failing", "full"}; !reflect.DeepEqual(got, want) {
		t.Errorf("rejected for %v, want %v", got, want)
	}
	wanted.Reserve.GPUs = 1
	if got := codes(wanted.Reject(agent, models.Sight{})); got[4] != models.RejectedSize || got[len(got)-1] == models.RejectedFull {
		t.Errorf("what is too small is rejected for %v", got)
	}
	place := -1
	for _, code := range got {
		for i, listed := range models.RejectionCodes() {
			if listed == code {
				if i <= place {
					t.Errorf("%s comes too late", code)
				}
				place = i
			}
		}
	}
}

func TestRejectSaysWhatIsMissing(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for name, test := range map[string]struct {
		capacity map[string]any
		reserved models.Amount
		wanted   models.Amount
		detail   string // nothing when the session fits
		missing  []string
	}{
		"no limits": {nil, models.Amount{Sessions: 900, CPU: 1 << 40}, models.Amount{Sessions: 1, CPU: 1 << 40, Memory: 1 << 40}, "", nil},
		"just fits": {map[string]any{"maxSessions": 2, "cpu": 2, "memory": "2Gi", "gpus": 2}, models.Amount{Sessions: 1, CPU: 500, Memory: 1 << 30, GPUs: 1},
			models.Amount{Sessions: 1, CPU: 1500, Memory: 1 << 30, GPUs: 1}, "", nil},
		"sessions": {map[string]any{"maxSessions": 2}, models.Amount{Sessions: 2}, models.Amount{Sessions: 1}, "is full", []string{"sessions"}},
		"all": {map[string]any{"maxSessions": 2, "cpu": 2, "memory": "2Gi", "gpus": 2},
			models.Amount{Sessions: 2, CPU: 1750, Memory: 2<<30 - 1<<20, GPUs: 1}, models.Amount{Sessions: 1, CPU: 1000, Memory: 1 << 30, GPUs: 2},
			"is full: 1 session wanted and 0 free, 1 core wanted and 0.25 free, 1024 MiB of memory wanted and 1 free, 2 GPUs wanted and 1 free",
			[]string{"sessions", "cpu", "memory", "gpus"}},
		"too small": {map[string]any{"maxSessions": 1, "cpu": 2}, models.Amount{Sessions: 1}, models.Amount{Sessions: 1, CPU: 2001, GPUs: 1},
			"is too small: 2 cores wanted and 2 there, 1 GPU wanted and 0 there", []string{"cpu", "gpus"}},
		// It came back smaller, and what it has too much of nobody wants more of.
		"overfull elsewhere": {map[string]any{"cpu": 1}, models.Amount{Sessions: 3, CPU: 4000, GPUs: 1}, models.Amount{Sessions: 1}, "", nil},
		"overfull here": {map[string]any{"cpu": 1}, models.Amount{Sessions: 3, CPU: 4000}, models.Amount{Sessions: 1, CPU: 250},
			"is full: 0.25 cores wanted and 0 free", []string{"cpu"}},
	} {
		agent := models.Agent{Status: models.AgentOnline, LastHeartbeat: &now, Capacity: test.capacity, Reserved: test.reserved}
		rejections := models.Requirements{Reserve: test.wanted}.Reject(agent, models.Sight{Connected: true})
		switch {
		case test.detail == "" && len(rejections) > 0:
			t.Errorf("%s: %+v", name, rejections)
		case test.detail != "" && (len(rejections) != 1 || rejections[0].Detail != test.detail || !reflect.DeepEqual(rejections[0].Missing, test.missing)):
			t.Errorf("%s: %+v, want %q, missing %v", name, rejections, test.detail, test.missing)
		}
	}
}

func TestPlatformAndPlatformsBothCount(t *testing.T) {
	wanted := models.Requirements{Platform: "docker", Platforms: []string{"process"}}
	for platform, want := range map[string]string{"docker": "is not of platform process", "process": "is not of platform docker"} {
		if got := wanted.Reject(models.Agent{Platform: platform}, models.Sight{})[0]; got.Code != models.RejectedPlatform || got.Detail != want {
			t.Errorf("%s: %+v", platform, got)
		}
	}
}

func TestLasting(t *testing.T) {
	lasting := map[models.RejectionCode]bool{"wrong_platform": true, "wrong_cluster": true, "wrong_region": true,
		"labels_differ": true, "too_small": true, "needs_missing": true, "failed_before": true}
	for _, code := range models.RejectionCodes() {
		if code.Lasting() != lasting[code] {
			t.Errorf("%s is lasting: %v", code, code.Lasting())
		}
	}
}

func TestHoldsImage(t *testing.T) {
	for name, test := range map[string]struct {
		images any
		want   bool
	}{
		"never said": {nil, false},
		"as JSON":    {[]any{"a", "desk", 1}, true},
		"as Go":      {[]string{"a", "desk"}, true},
		"another":    {[]any{"desk:2"}, false},
		"one":        {"desk", false},
		"nested":     {[]any{[]any{"desk"}}, false},
	} {
		if got := (models.Agent{Metadata: map[string]any{"images": test.images}}).HoldsImage("desk"); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
