package api_test

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// docs/operations.md tells of each metric, and of none that is not there.
func TestOperationsPageHasTheMetrics(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	must(t, err)
	w := newWorld(t)
	w.get("/api/v1/me", w.as("ann")).want(http.StatusOK) // requests are counted from the first one on
	families, err := w.registry.Gather()
	must(t, err)
	shown := map[string]bool{}
	for _, family := range families {
		shown[family.GetName()] = true
		if !strings.Contains(string(page), "`"+family.GetName()+"`") {
			t.Errorf("docs/operations.md does not tell of %s", family.GetName())
		}
	}
	for _, name := range regexp.MustCompile("`(streamspace_[a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		if !shown[name[1]] {
			t.Errorf("docs/operations.md tells of %s, which is not there", name[1])
		}
	}
}
