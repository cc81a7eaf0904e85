package services_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/models"
)

// The page for people says what the data says: each row of the two transition
// tables is compared.
func TestStateMachinesAreDocumentedAsTheyAre(t *testing.T) {
	page, err := os.ReadFile("../docs/state-machines.md")
	if err != nil {
		t.Fatal(err)
	}
	sessions, commands, split := strings.Cut(string(page), "\n## Command\n")
	if !split {
		t.Fatal("the page has no section on commands")
	}
	for _, from := range models.SessionStates() {
		var next []string
		for _, to := range models.SessionStates() {
			if from.CanBecome(to) {
				next = append(next, string(to))
			}
		}
		compareRow(t, sessions, string(from), next)
	}
	for _, from := range models.CommandStates() {
		var next []string
		for _, to := range models.CommandStates() {
			if models.CanCommandBecome(from, to) {
				next = append(next, to)
			}
		}
		compareRow(t, commands, from, next)
	}
}

// compareRow finds the row of a state, and its arrows in the diagram.
func compareRow(t *testing.T, section, from string, want []string) {
	t.Helper()
	slices.Sort(want)
	var row, arrows []string
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, "|"); len(row) == 0 && len(cells) == 4 && strings.TrimSpace(cells[1]) == "`"+from+"`" {
			for _, cell := range strings.Split(cells[2], ",") {
				if name := strings.Trim(strings.TrimSpace(cell), "`"); name != "" {
					row = append(row, name)
				}
			}
		}
		if before, after, arrow := strings.Cut(strings.TrimSpace(line), " --> "); arrow && before == from && after != "[*]" {
			to, _, _ := strings.Cut(after, ":")
			arrows = append(arrows, to)
		}
	}
	slices.Sort(row)
	slices.Sort(arrows)
	if !slices.Equal(row, want) {
		t.Errorf("the table has %s → %v, the data %v", from, row, want)
	}
	if !slices.Equal(arrows, want) {
		t.Errorf("the diagram has %s → %v, the data %v", from, arrows, want)
	}
}
