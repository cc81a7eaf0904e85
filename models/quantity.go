package models

import (
	"math"
	"strconv"
	"strings"
)

// quantitySuffixes are those of Kubernetes quantities that make sense here
// (kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity).
var quantitySuffixes = []struct {
	suffix string
	factor float64
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40},
	{"m", 1e-3}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12},
}

// ParseCPU reads a CPU quantity, such as 500m or 2, as thousandths of a core.
func ParseCPU(quantity string) (milli int64, err error) {
	return parseQuantity("cpu", quantity, 1000)
}

// ParseMemory reads a memory quantity, such as 512Mi or 2G, as bytes.
func ParseMemory(quantity string) (bytes int64, err error) {
	return parseQuantity("memory", quantity, 1)
}

func parseQuantity(what, quantity string, scale float64) (int64, error) {
	number, factor := quantity, 1.0
	for _, unit := range quantitySuffixes {
		if rest, found := strings.CutSuffix(quantity, unit.suffix); found {
			number, factor = rest, unit.factor
			break
		}
	}
	value, err := strconv.ParseFloat(number, 64)
	total := math.Ceil(value * factor * scale)
	if err != nil || !(value > 0) || total >= math.MaxInt64 {
		return 0, &Error{Code: CodeInvalidRequest, Err: err, Message: what + " is " + strconv.Quote(quantity) +
			", which is not a positive quantity such as 500m, 2 or 1Gi"}
	}
	return int64(total), nil
}

// Validate checks the quantities; an empty one is no limit.
func (r Resources) Validate() error {
	if r.CPU != "" {
		if _, err := ParseCPU(r.CPU); err != nil {
			return err
		}
	}
	if r.Memory != "" {
		if _, err := ParseMemory(r.Memory); err != nil {
			return err
		}
	}
	if r.GPUs < 0 {
		return Errorf(CodeInvalidRequest, "gpus is %d, which is not a number of GPUs", r.GPUs)
	}
	return nil
}

// Or fills what is empty in r from defaults.
func (r Resources) Or(defaults Resources) Resources {
	if r.CPU == "" {
		r.CPU = defaults.CPU
	}
	if r.Memory == "" {
		r.Memory = defaults.Memory
	}
	if r.GPUs == 0 {
		r.GPUs = defaults.GPUs
	}
	return r
}
