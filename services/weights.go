package services

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/streamspace/streamspace/models"
)

// Weights say how much each part of a Score counts. A part is worth at most its
// weight, so what weighs more than all others together always decides. Ours is
// the balance of the defaults; nothing was measured.
type Weights struct {
	// Load is 1 by default. Between agents with n and n+1 sessions it makes a
	// difference of 1/((n+1)(n+2)), so wishes count for more where load is high.
	Load float64
	// PreferredRegion is 0.5 by default: an idle agent elsewhere is as good as
	// one with a session there.
	PreferredRegion float64
	// PreferredCluster is 0.5 by default.
	PreferredCluster float64
	// Spread is 0.5 by default.
	Spread float64
	// Home is 10 by default, more than all others together: a session is of
	// little use without its home.
	Home float64
	// UserAntiAffinity is 0.0001 by default, and keeps a user's sessions apart
	// only where agents are as good: with up to 100 sessions on an agent, one
	// session less elsewhere counts for more.
	UserAntiAffinity float64
	// Image is 0.3 by default.
	Image float64
}

// DefaultWeights are the weights that the zero value of SelectorOptions means.
func DefaultWeights() Weights {
	return Weights{Load: 1, PreferredRegion: 0.5, PreferredCluster: 0.5, Spread: 0.5, Home: 10, UserAntiAffinity: 0.0001, Image: 0.3}
}

// ParseWeights gives DefaultWeights with those changed that are said, by the
// name of the part of a Score. Errors have models.CodeInvalidRequest and say
// which is unknown, no number from 0 to 100,000, or that all are 0.
func ParseWeights(said map[string]string) (Weights, error) {
	weights := DefaultWeights()
	named := map[string]*float64{
		"load": &weights.Load, "region": &weights.PreferredRegion, "cluster": &weights.PreferredCluster, "spread": &weights.Spread,
		"home": &weights.Home, "antiAffinity": &weights.UserAntiAffinity, "image": &weights.Image,
	}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		weight, known := named[name]
		if !known {
			return Weights{}, models.Errorf(models.CodeInvalidRequest, "there is no weight %q; the weights are %s", name,
				strings.Join(slices.Sorted(maps.Keys(named)), ", "))
		}
		number, err := strconv.ParseFloat(said[name], 64)
		if err != nil {
			return Weights{}, models.Errorf(models.CodeInvalidRequest, "the weight of %s is %q, which is not a number", name, said[name])
		}
		*weight = number
	}
	if weights == (Weights{}) {
		return Weights{}, models.Errorf(models.CodeInvalidRequest, "all weights are 0; choose a number above 0 for one of them")
	}
	return weights, weights.Validate()
}

// maxWeight keeps totals exact to the billionth that ties are decided by.
const maxWeight = 100_000

// Validate checks that each weight is a number from 0 to 100,000. Errors have
// models.CodeInvalidRequest and name the weight.
func (w Weights) Validate() error {
	for _, weight := range []struct {
		name  string
		value float64
	}{
		{"load", w.Load}, {"region", w.PreferredRegion}, {"cluster", w.PreferredCluster},
		{"spread", w.Spread}, {"home", w.Home}, {"antiAffinity", w.UserAntiAffinity}, {"image", w.Image},
	} {
		if !(weight.value >= 0 && weight.value <= maxWeight) { // which NaN is not either
			return models.Errorf(models.CodeInvalidRequest, "the weight of %s is %v; choose a number from 0 to %d", weight.name, weight.value, maxWeight)
		}
	}
	return nil
}
