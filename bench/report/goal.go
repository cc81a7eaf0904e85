package report

import (
	"math"
	"strconv"
)

// Goal is what a measurement must keep to.
type Goal struct {
	sign  string
	bound float64
}

// AtMost is the goal of what should be small.
func AtMost(bound float64) Goal { return Goal{sign: "<=", bound: bound} }

// AtLeast is the goal of what should be large.
func AtLeast(bound float64) Goal { return Goal{sign: ">=", bound: bound} }

// String gives the goal as a RESULT line has it, e.g. <=1.15.
func (g Goal) String() string {
	return g.sign + strconv.FormatFloat(g.bound, 'f', -1, 64)
}

// met compares the value that is printed, so that no line contradicts itself.
// NaN meets nothing.
func (g Goal) met(value float64) bool {
	if g.sign == "<=" {
		return rounded(value) <= g.bound
	}
	return rounded(value) >= g.bound
}

// rounded keeps three decimals: a thousandth of a ratio is below any spread
// that these benchmarks have.
func rounded(value float64) float64 { return math.Round(value*1000) / 1000 }
