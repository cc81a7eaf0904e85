package models

import "time"

// The numbers of breakers. They are ours: nothing was measured.
const (
	// BreakerTrips is how many starts in a row must fail before an agent gets no
	// more sessions of the template.
	BreakerTrips = 3
	// BreakerFirst is the time until the first probe. It doubles with each
	// failure after that, up to BreakerLongest.
	BreakerFirst   = 10 * time.Second
	BreakerLongest = 5 * time.Minute
	// BreakerForgets is the time after which a failure does not count any more.
	BreakerForgets = time.Hour
)

// Breaker counts how often in a row an agent has failed to start sessions of a
// template. From BreakerTrips on the agent gets no more of them, but for one
// probe each time that RetryAt has passed; a start that succeeds ends it.
type Breaker struct {
	AgentID  string    `json:"agentId"`
	Template string    `json:"template"`
	Failures int64     `json:"failures"`
	FailedAt time.Time `json:"failedAt"`
	// RetryAt is when the next probe may be made.
	RetryAt time.Time `json:"retryAt"`
}

// Failed is the breaker after another failure.
func (b Breaker) Failed(now time.Time) Breaker {
	if now.Sub(b.FailedAt) > BreakerForgets {
		b.Failures = 0
	}
	b.Failures, b.FailedAt = b.Failures+1, now
	return b.Probed(now)
}

// Probed is the breaker when a probe begins. If nothing is heard of that one,
// there may be another one after the same time.
func (b Breaker) Probed(now time.Time) Breaker {
	wait := BreakerFirst
	for range max(0, b.Failures-BreakerTrips) {
		wait = min(2*wait, BreakerLongest)
		if wait == BreakerLongest {
			break
		}
	}
	b.RetryAt = now.Add(wait)
	return b
}

// Open tells whether the agent gets no more sessions of the template but for
// probes.
func (b Breaker) Open(now time.Time) bool {
	return b.Failures >= BreakerTrips && now.Sub(b.FailedAt) <= BreakerForgets
}

// Blocks tells whether the agent is not even to be probed now.
func (b Breaker) Blocks(now time.Time) bool { return b.Open(now) && now.Before(b.RetryAt) }
