package sim

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Violation is an invariant that did not hold.
type Violation struct {
	// Invariant is its name in the design.
	Invariant string
	Seed      uint64
	// At is the virtual time since the world began.
	At   time.Duration
	What string
	// Session is whom it concerns, if it is one; History is what happened to it.
	Session string
	History []string
}

// String tells the violation with its history.
func (v Violation) String() string {
	return fmt.Sprintf("%s violated, seed %d, at %v: %s\n%s", v.Invariant, v.Seed, v.At.Round(time.Millisecond), v.What,
		strings.Join(v.History, "\n"))
}

// Report is what one world, or several together, came to.
type Report struct {
	Seeds      int
	Virtual    time.Duration
	Faults     map[Fault]int
	Violations []Violation
	// Accepted, Refused and Unanswered count requests of users, Commands, Effects and Frames what came of
	// them.
	Accepted, Refused, Unanswered, Commands, Effects, Frames int
	// Settled is the largest part of R1's bound that a world took to settle.
	Settled float64
	// Fingerprint is a hash of all effects with their times: runs of one seed that
	// have the same went the same way.
	Fingerprint uint64
}

// Add adds another report to this one.
func (r *Report) Add(other Report) {
	r.Seeds += other.Seeds
	r.Fingerprint ^= other.Fingerprint
	r.Virtual += other.Virtual
	r.Settled = max(r.Settled, other.Settled)
	if r.Faults == nil {
		r.Faults = map[Fault]int{}
	}
	for kind, count := range other.Faults {
		r.Faults[kind] += count
	}
	r.Violations = append(r.Violations, other.Violations...)
	r.Accepted += other.Accepted
	r.Refused += other.Refused
	r.Unanswered += other.Unanswered
	r.Commands += other.Commands
	r.Effects += other.Effects
	r.Frames += other.Frames
}

// byInvariant counts violations.
func (r *Report) byInvariant() map[string]int {
	counts := map[string]int{}
	for _, violation := range r.Violations {
		counts[violation.Invariant]++
	}
	return counts
}

// Print writes the report for people and, at the end, for programs.
func (r *Report) Print(out io.Writer, goal int, took time.Duration) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%d seeds, %.1f virtual hours in %v (%.1f seeds a second)\n", r.Seeds, r.Virtual.Hours(),
		took.Round(time.Second), float64(r.Seeds)/took.Seconds())
	fmt.Fprintf(&text, "requests: %d accepted, %d refused, %d without an answer; %d commands, %d effects, %d frames\n",
		r.Accepted, r.Refused, r.Unanswered, r.Commands, r.Effects, r.Frames)
	fmt.Fprintf(&text, "all settled within %.0f%% of the bound; fingerprint %016x\n", 100*r.Settled, r.Fingerprint)
	for _, kind := range slices.Sorted(maps.Keys(r.Faults)) {
		fmt.Fprintf(&text, "  %7d  %s\n", r.Faults[kind], kind)
	}
	byInvariant := r.byInvariant()
	for _, invariant := range slices.Sorted(maps.Keys(byInvariant)) {
		fmt.Fprintf(&text, "  violated: %s, %d times\n", invariant, byInvariant[invariant])
	}
	fmt.Fprintf(&text, "RESULT sim_seeds %d >=%d %s\n", r.Seeds, goal, passed(r.Seeds >= goal))
	fmt.Fprintf(&text, "RESULT sim_violations %d <=0 %s\n", len(r.Violations), passed(len(r.Violations) == 0))
	_, err := io.WriteString(out, text.String())
	return err
}

func passed(good bool) string {
	if good {
		return "pass"
	}
	return "fail"
}
