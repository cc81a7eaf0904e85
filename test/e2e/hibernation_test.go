package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/streamspace/streamspace/test/program"
)

// homely is a template whose sessions' homes are kept.
const homely = `apiVersion: streamspace.io/v1
kind: Template
metadata:
  name: homely
spec:
  displayName: Homely
  protocol: terminal
  platforms: [process]
  persistentHome: true
  process:
    command: [sh]
`

func TestHibernationInABrowser(t *testing.T) {
	dataDir := filepath.Join(t.TempDir(), "data")
	templates := filepath.Join(dataDir, "templates")
	if err := os.MkdirAll(templates, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(templates, "homely.yaml"), []byte(homely), 0o600); err != nil {
		t.Fatal(err)
	}
	up := program.StartUp(t, dataDir, "")
	asked := steps{
		"asleep": func(session string) (string, error) {
			return "", soon(func() error {
				if left := program.ProcessesOf(t, session); len(left) > 0 {
					return fmt.Errorf("processes are left:\n%s", program.Describe(left))
				}
				return nil
			})
		},
		"hibernate": func(session string) (string, error) {
			_, err := up.API().Hibernate(program.Limit(t), session)
			return "", err
		},
	}
	maps.Copy(asked, diskSteps(t, dataDir))
	play(t, "hibernation", []string{"LOGIN=" + up.Login}, asked)
	up.Stop()
}
