package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
)

// timeLimits says what ends a session, or nothing.
func timeLimits(limits models.TimeLimits) string {
	var parts []string
	if limits.IdleTimeout != "" {
		parts = append(parts, limits.IdleTimeout+" unused")
	}
	if limits.MaxDuration != "" {
		parts = append(parts, limits.MaxDuration+" running")
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", ") + ", then " + string(limits.OnLimit)
}

// ending says when a running session reaches its limits, or nothing.
func ending(session client.Session, now time.Time) string {
	var parts []string
	add := func(at *time.Time, condition string) {
		if at != nil {
			left := max(at.Sub(now), 0).Round(time.Second)
			parts = append(parts, fmt.Sprintf("%s, in %s%s", at.Local().Format(time.DateTime), models.FormatDuration(left), condition))
		}
	}
	add(session.IdleAt, " unless it is used")
	add(session.ExpiresAt, "")
	return strings.Join(parts, "; at the latest ")
}
