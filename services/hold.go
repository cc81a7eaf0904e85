package services

import (
	"fmt"
	"slices"
	"time"
)

// The bounds of what counts as most agents vanishing at once. Kubernetes slows
// down when more than 55 % of a zone are gone
// (kubernetes.io/docs/concepts/architecture/nodes).
const (
	// vanishedPercent of the agents that lived until then must have fallen silent,
	// and vanishedWithin each other.
	vanishedPercent = 55
	vanishedWithin  = 5 * time.Minute
	// vanishedOf is how many agents there must be: of one or two that are gone
	// nobody can say that it is not they who failed.
	vanishedOf = 5
	// DefaultHoldFor is for how long, after an agent would count as gone, it does
	// not because most others vanished with it.
	DefaultHoldFor = time.Hour
)

// silence is what holds back declaring agents gone: so many of so many fell
// silent together, the last one at the time given.
type silence struct {
	silent, of int
	since      time.Time
}

// vanished finds whether most agents fell silent at once, in the times when each
// was last heard of, of which those before quiet are silent. It is a pure
// function, and gives the largest such group.
func vanished(heard []time.Time, quiet time.Time) (found silence, most bool) {
	heard = slices.SortedFunc(slices.Values(heard), time.Time.Compare)
	first := 0
	for last, at := range heard {
		if !at.Before(quiet) {
			break
		}
		for at.Sub(heard[first]) > vanishedWithin {
			first++
		}
		// Those before the first were gone already.
		silent, of := last-first+1, len(heard)-first
		if of >= vanishedOf && silent*100 >= of*vanishedPercent && silent >= found.silent {
			found, most = silence{silent: silent, of: of, since: at}, true
		}
	}
	return found, most
}

// clockTime is how reasons say a time.
const clockTime = "15:04 MST on 2 January"

// reason says what is held back.
func (s silence) reason(until time.Time) string {
	return fmt.Sprintf("%d of %d agents fell silent together and have not been heard of since %s: their sessions are not given up before %s, "+
		"as it may be the network between. Whoever knows that an agent is gone for good removes it", s.silent, s.of,
		s.since.UTC().Format(clockTime), until.UTC().Format(clockTime))
}

// awayReason says what is held back after this replica was away itself.
func awayReason(away time.Duration, back, until time.Time) string {
	return fmt.Sprintf("the control plane was suspended, or cut off from its database, for %s until %s: agents have until %s to be heard of "+
		"before their sessions are given up", away.Round(time.Second), back.UTC().Format(clockTime), until.UTC().Format(clockTime))
}
