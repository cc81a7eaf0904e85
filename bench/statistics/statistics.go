// Package statistics summarises repeated measurements by what few outliers
// cannot move: the median and the quartiles.
package statistics

import (
	"math"
	"slices"
	"time"
)

// Summary is the spread of a sample. Every field of an empty sample's is NaN.
type Summary struct {
	Min, Q1, Median, Q3, Max float64
}

// Summarise gives the sample's spread. The sample stays as it is.
func Summarise(sample []float64) Summary {
	sorted := slices.Sorted(slices.Values(sample))
	return Summary{
		Min: quantile(sorted, 0), Q1: quantile(sorted, 0.25), Median: quantile(sorted, 0.5),
		Q3: quantile(sorted, 0.75), Max: quantile(sorted, 1),
	}
}

// Median is the middle of the sample; NaN for an empty one.
func Median(sample []float64) float64 { return Quantile(sample, 0.5) }

// Quantile is the value that the given part of the sample, from 0 to 1, does
// not exceed; NaN for an empty sample. Between two values it is on the straight
// line between them (type 7 of Hyndman and Fan, Sample Quantiles in Statistical
// Packages, 1996).
func Quantile(sample []float64, part float64) float64 {
	return quantile(slices.Sorted(slices.Values(sample)), part)
}

func quantile(sorted []float64, part float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	position := part * float64(len(sorted)-1)
	below := int(position)
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (position-float64(below))*(sorted[above]-sorted[below])
}

// Ratios divides each measurement by its counterpart of the same round.
func Ratios(ours, theirs []float64) []float64 {
	ratios := make([]float64, min(len(ours), len(theirs)))
	for i := range ratios {
		ratios[i] = ours[i] / theirs[i]
	}
	return ratios
}

// Milliseconds gives a duration as a measurement.
func Milliseconds(duration time.Duration) float64 {
	return float64(duration) / float64(time.Millisecond)
}
