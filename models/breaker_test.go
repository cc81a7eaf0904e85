package models_test

import (
	"testing"
	"time"

	"github.com/streamspace/streamspace/models"
)

func TestBreakersWaitLongerWithEachFailure(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var breaker models.Breaker
	for failure, wait := range []time.Duration{10, 10, 10, 20, 40, 80, 160, 300, 300, 300} {
		breaker = breaker.Failed(now)
		if got := breaker.RetryAt.Sub(now); got != wait*time.Second {
			t.Errorf("after failure %d it waits for %v", failure+1, got)
		}
		if open := failure >= 2; breaker.Open(now) != open || breaker.Blocks(now) != open || breaker.Blocks(breaker.RetryAt) {
			t.Errorf("after failure %d it is %+v", failure+1, breaker)
		}
		now = breaker.RetryAt
	}
	if breaker.Open(now.Add(models.BreakerForgets + time.Second)) {
		t.Error("it is open for ever")
	}
}
