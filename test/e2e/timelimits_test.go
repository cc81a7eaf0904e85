package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/test/program"
)

func TestTimeLimitsInABrowser(t *testing.T) {
	dataDir := filepath.Join(t.TempDir(), "data")
	templates := filepath.Join(dataDir, "templates")
	if err := os.MkdirAll(templates, 0o700); err != nil {
		t.Fatal(err)
	}
	brief := strings.NewReplacer("homely", "brief", "Homely", "Brief", "  process:\n", "  idleTimeout: 1m\n  onLimit: hibernate\n  process:\n").Replace(homely)
	if err := os.WriteFile(filepath.Join(templates, "brief.yaml"), []byte(brief), 0o600); err != nil {
		t.Fatal(err)
	}
	up := program.StartUp(t, dataDir, "")
	play(t, "timelimits", []string{"LOGIN=" + up.Login}, nil)
	up.Stop()
}
