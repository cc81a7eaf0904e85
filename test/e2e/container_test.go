package e2e

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/agent/driver/docker/enginetest"
	"github.com/streamspace/streamspace/test/program"
)

// boxTemplates are a desktop and a web app in containers of a platform, whose
// homes are kept.
func boxTemplates(t *testing.T, dataDir, platform string) {
	t.Helper()
	const common = "  platforms: [%s]\n  persistentHome: true\n  container: {pullPolicy: never}\n"
	writeTemplate(t, dataDir, "boxed", fmt.Sprintf("  icon: desktop\n  protocol: vnc\n  baseImage: "+desktopImage+"\n  vnc: {enabled: true, port: 5900}\n"+common, platform))
	writeTemplate(t, dataDir, "pages", fmt.Sprintf("  icon: app\n  protocol: http\n  baseImage: "+pagesImage+"\n  http: {port: 8080, healthPath: /health}\n"+common, platform))
}

// The images of those.
const (
	desktopImage = "streamspace.test/desktop:1"
	pagesImage   = "streamspace.test/pages:1"
)

// newEngine starts a Docker engine with the images.
func newEngine(t *testing.T) *enginetest.Engine {
	t.Helper()
	engine, err := enginetest.Start()
	if err != nil {
		missing(t, "no Docker engine can be started: "+err.Error())
	}
	t.Cleanup(func() {
		if err := engine.Stop(); err != nil {
			t.Errorf("stop the Docker engine: %v", err)
		}
	})
	err = engine.ImportDesktop(t.Context(), desktopImage)
	if err == nil {
		err = engine.ImportProgram(t.Context(), pagesImage, "../webapp/serve")
	}
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

// A real desktop and a web app in containers of a real Docker engine, from the
// first click to the last container.
func TestContainersInABrowser(t *testing.T) {
	engine := newEngine(t)
	dataDir := filepath.Join(t.TempDir(), "data")
	boxTemplates(t, dataDir, "docker")
	up := program.StartUp(t, dataDir, "", "--docker", engine.Host)
	// onlyHomes waits until nothing but so many homes is on the engine.
	onlyHomes := func(homes int) func(string) (string, error) {
		return func(string) (string, error) {
			return "", soon(func() error {
				containers, err := engine.Docker("ps", "--all", "--format", "{{.Names}} {{.Status}}")
				networks, networkErr := engine.Docker("network", "ls", "--filter", "type=custom", "--format", "{{.Name}}")
				volumes, volumeErr := engine.Docker("volume", "ls", "--format", "{{.Name}}")
				if err := errors.Join(err, networkErr, volumeErr); err != nil {
					return err
				}
				if containers+networks != "" || strings.Count(volumes, "streamspace-home-") != homes || strings.Count(volumes, "\n") != homes-1 {
					return errors.New("left are " + containers + " " + networks + " " + volumes)
				}
				return nil
			})
		}
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
		"asleep": onlyHomes(1),
		"gone":   onlyHomes(1),
	})
	link, err := up.API().LoginLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	play(t, "pages", []string{"LOGIN=" + link.URL, "WHERE=own", "SLEEPS=1"}, steps{
		"note":   func(string) (string, error) { return "", nil },
		"asleep": onlyHomes(2),
		"gone":   onlyHomes(2),
	})
	up.Stop()
}
