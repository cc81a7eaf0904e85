package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// table writes rows under headings, in columns.
func table(w io.Writer, headings []string, rows [][]string) error {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{headings}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = plain(cell)
			if cells[i] == "" {
				cells[i] = "-"
			}
		}
		if _, err := fmt.Fprintln(columns, strings.Join(cells, "\t")); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
	if err := columns.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// fields writes one thing as name and value, a line each. Empty values are left
// out.
func fields(w io.Writer, pairs ...[2]string) error {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, pair := range pairs {
		if pair[1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(columns, "%s:\t%s\n", pair[0], plain(pair[1])); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
	if err := columns.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// plain keeps what others wrote from breaking the table, or from steering the
// terminal.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return ' '
		}
		return r
	}, text)
}

// age is how long ago a moment was, in its largest unit.
func age(now, then time.Time) string {
	if then.IsZero() {
		return ""
	}
	elapsed := max(now.Sub(then), 0)
	switch {
	case elapsed < time.Minute:
		return fmt.Sprintf("%ds", int(elapsed.Seconds()))
	case elapsed < time.Hour:
		return fmt.Sprintf("%dm", int(elapsed.Minutes()))
	case elapsed < 48*time.Hour:
		return fmt.Sprintf("%dh", int(elapsed.Hours()))
	}
	return fmt.Sprintf("%dd", int(elapsed.Hours()/24))
}

// ahead is how far ahead a moment is, in its largest unit and rounded up, so
// that what was asked for is what is shown.
func ahead(now, then time.Time) string {
	for _, unit := range []struct {
		length, below time.Duration
		name          string
	}{{time.Second, time.Minute, "s"}, {time.Minute, time.Hour, "m"}, {time.Hour, 48 * time.Hour, "h"}} {
		if units := max(then.Sub(now)+unit.length-1, 0) / unit.length; units*unit.length < unit.below {
			return fmt.Sprintf("%d%s", units, unit.name)
		}
	}
	return fmt.Sprintf("%dd", (then.Sub(now)+24*time.Hour-1)/(24*time.Hour))
}
