package agent

import (
	"math/rand/v2"
	"time"
)

// The defaults of Backoff.
const (
	DefaultBackoffBase    = 250 * time.Millisecond
	DefaultBackoffCap     = 30 * time.Second
	DefaultBackoffRefused = 30 * time.Second
)

// shutdownSpread is how far apart agents come back to a control plane that has
// told them that it restarts.
const shutdownSpread = time.Second

// Backoff is how long the agent waits before it tries to connect again: any
// time between nothing and a limit that doubles with each failure. Full jitter
// keeps agents that lost their control plane together from coming back
// together. The zero value of a field means its default.
type Backoff struct {
	// Base is the limit after the first failure; DefaultBackoffBase.
	Base time.Duration
	// Cap is the highest limit; DefaultBackoffCap.
	Cap time.Duration
	// Refused is the wait after an answer that only a person can change, such
	// as a refused key, give or take a fifth; DefaultBackoffRefused.
	Refused time.Duration
}

func (b Backoff) orDefaults() Backoff {
	if b.Base <= 0 {
		b.Base = DefaultBackoffBase
	}
	if b.Cap <= 0 {
		b.Cap = DefaultBackoffCap
	}
	if b.Refused <= 0 {
		b.Refused = DefaultBackoffRefused
	}
	return b
}

// after gives the wait after so many failures in a row.
func (b Backoff) after(failures int) time.Duration {
	limit := b.Base
	for range failures {
		if limit *= 2; limit >= b.Cap {
			break
		}
	}
	return rand.N(min(limit, b.Cap))
}

// slow gives the wait after a refusal.
func (b Backoff) slow() time.Duration { return jittered(b.Refused, 0.2) }

// spread gives the wait after an announced end.
func (b Backoff) spread() time.Duration { return rand.N(min(shutdownSpread, b.Cap)) }

// jittered gives about the duration, up to the given part of it more or less.
func jittered(about time.Duration, part float64) time.Duration {
	return time.Duration(float64(about) * (1 - part + 2*part*rand.Float64()))
}
