package models

import (
	"fmt"
	"strings"
)

// The names of an amount's parts, as in the JSON of Resources.
const (
	partSessions = "sessions"
	partCPU      = "cpu"
	partMemory   = "memory"
	partGPUs     = "gpus"
)

// shortage is a part of an amount of which there is less than is wanted.
type shortage struct {
	name          string
	one, many     string
	unit          int64
	wanted, there int64
}

// left is what remains of a limit when so much is reserved: nothing where more
// is, as when an agent came back smaller. What is Unlimited stays so.
func (a Amount) left(reserved Amount) Amount {
	left := func(limit, reserved int64) int64 {
		if limit == Unlimited {
			return Unlimited
		}
		return max(0, limit-reserved)
	}
	return Amount{
		Sessions: left(a.Sessions, reserved.Sessions), CPU: left(a.CPU, reserved.CPU),
		Memory: left(a.Memory, reserved.Memory), GPUs: left(a.GPUs, reserved.GPUs),
	}
}

// shortages lists the parts of an amount that are more than there is.
func (a Amount) shortages(there Amount) []shortage {
	var short []shortage
	for _, part := range []shortage{
		{partSessions, "session", "sessions", 1, a.Sessions, there.Sessions},
		{partCPU, "core", "cores", 1000, a.CPU, there.CPU},
		{partMemory, "MiB of memory", "MiB of memory", 1 << 20, a.Memory, there.Memory},
		{partGPUs, "GPU", "GPUs", 1, a.GPUs, there.GPUs},
	} {
		if part.there != Unlimited && part.wanted > part.there {
			short = append(short, part)
		}
	}
	return short
}

func names(short []shortage) []string {
	all := make([]string, 0, len(short))
	for _, part := range short {
		all = append(all, part.name)
	}
	return all
}

// spell says shortages in words, such as "2 cores wanted and 0.5 free".
func spell(short []shortage, where string) string {
	parts := make([]string, 0, len(short))
	for _, part := range short {
		unit := part.many
		if part.wanted == part.unit {
			unit = part.one
		}
		parts = append(parts, fmt.Sprintf("%s %s wanted and %s %s", decimal(part.wanted, part.unit), unit, decimal(part.there, part.unit), where))
	}
	return strings.Join(parts, ", ")
}

// decimal writes an amount in a unit, with at most two digits after the point.
func decimal(amount, unit int64) string {
	text := fmt.Sprintf("%.2f", float64(amount)/float64(unit))
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}
