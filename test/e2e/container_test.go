package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/agent/driver/docker/enginetest"
	"github.com/streamspace/streamspace/test/program"
)

// boxed is a desktop in a container, whose home is kept.
const boxed = `apiVersion: streamspace.io/v1
kind: Template
metadata: {name: boxed}
spec:
  displayName: Boxed desktop
  protocol: vnc
  platforms: [docker]
  baseImage: streamspace-test/desktop:1
  persistentHome: true
  vnc: {enabled: true, port: 5900}
  container: {pullPolicy: never}
`

// A real desktop in a container of a real Docker engine, from the first click to
// the last container.
func TestDesktopInAContainerInABrowser(t *testing.T) {
	engine, err := enginetest.Start()
	if err != nil {
		missing(t, "no Docker engine can be started: "+err.Error())
	}
	t.Cleanup(func() {
		if err := engine.Stop(); err != nil {
			t.Errorf("stop the Docker engine: %v", err)
		}
	})
	if err := engine.ImportDesktop(t.Context(), "streamspace-test/desktop:1"); err != nil {
		t.Fatal(err)
	}
	dataDir := filepath.Join(t.TempDir(), "data")
	templates := filepath.Join(dataDir, "templates")
	if err := os.MkdirAll(templates, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(templates, "boxed.yaml"), []byte(boxed), 0o600); err != nil {
		t.Fatal(err)
	}
	up := program.StartUp(t, dataDir, "", "--docker", engine.Host)
	// left is what there is on the engine besides the home.
	left := func(string) (string, error) {
		return "", soon(func() error {
			containers, err := engine.Docker("ps", "--all", "--format", "{{.Names}} {{.Status}}")
			networks, networkErr := engine.Docker("network", "ls", "--filter", "type=custom", "--format", "{{.Name}}")
			volumes, volumeErr := engine.Docker("volume", "ls", "--format", "{{.Name}}")
			if err := errors.Join(err, networkErr, volumeErr); err != nil {
				return err
			}
			if containers+networks != "" || strings.Count(volumes, "streamspace-home-") != 1 || strings.Contains(volumes, "\n") {
				return errors.New("left are " + containers + " " + networks + " " + volumes)
			}
			return nil
		})
	}
	play(t, "container", []string{"LOGIN=" + up.Login}, steps{
		// file waits for a file of the home.
		"file": func(name string) (content string, err error) {
			err = soon(func() error {
				id, err := engine.Docker("ps", "--quiet")
				if err == nil {
					content, err = engine.Docker("exec", id, "sh", "-c", `cat "$HOME/`+name+`"`)
				}
				if err == nil && content == "" {
					err = errors.New("it is empty")
				}
				return err
			})
			return content, err
		},
		"asleep": left,
		"gone":   left,
	})
	up.Stop()
}
