package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/streamspace/streamspace/test/program"
)

// A session that is web pages, at a host name of its own and in a sandbox on the
// console's origin: launched, used, loaded anew, and stopped, with nothing of the
// console within its reach.
func TestPagesInABrowser(t *testing.T) {
	for name, arguments := range map[string][]string{"own": nil, "shared": {"--session-host-pattern", "none"}} {
		t.Run(name, func(t *testing.T) {
			dataDir := filepath.Join(t.TempDir(), "data")
			writeTemplate(t, dataDir, "pages", fmt.Sprintf("  icon: app\n  protocol: http\n  platforms: [process]\n"+
				"  http: {healthPath: /health}\n  process: {command: [%s]}\n", webApp(t)))
			up := program.StartUp(t, dataDir, "", arguments...)
			play(t, "pages", []string{"LOGIN=" + up.Login, "WHERE=" + name}, diskSteps(t, dataDir))
			up.Stop()
		})
	}
}

// writeTemplate writes a template of the user's.
func writeTemplate(t *testing.T, dataDir, name, spec string) {
	t.Helper()
	dir := filepath.Join(dataDir, "templates")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text := "apiVersion: streamspace.io/v1\nkind: Template\nmetadata:\n  name: " + name + "\nspec:\n  displayName: The " + name + "\n" + spec
	if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// webApp builds the app of test/webapp where sessions find it: those that are
// isolated have a /tmp of their own.
func webApp(t *testing.T) string {
	t.Helper()
	above := ""
	if os.Geteuid() == 0 {
		above = "/var/lib"
	}
	dir, err := os.MkdirTemp(above, "streamspace-webapp-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "webapp")
	if said, err := exec.Command("go", "build", "-o", path, "../webapp/serve").CombinedOutput(); err != nil {
		t.Fatalf("build the app: %v\n%s", err, said)
	}
	return path
}
