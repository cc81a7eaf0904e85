package api

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/streamspace/streamspace/models"
)

// docs/errors.md gives each code the status that it is answered with.
func TestErrorsPageHasTheStatuses(t *testing.T) {
	page, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	described := map[models.ErrorCode]int{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([0-9]{3}) \\|").FindAllStringSubmatch(string(page), -1) {
		described[models.ErrorCode(row[1])], err = strconv.Atoi(row[2])
		if err != nil {
			t.Fatal(err)
		}
	}
	for code, shown := range kinds {
		if described[code] != shown.status {
			t.Errorf("docs/errors.md says %d for `%s`, and the API answers %d", described[code], code, shown.status)
		}
	}
	for code := range described {
		if _, known := kinds[code]; !known {
			t.Errorf("docs/errors.md has `%s`, which the API never answers", code)
		}
	}
}
