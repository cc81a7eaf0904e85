package e2e

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

func TestDesktopInABrowser(t *testing.T) {
	dataDir := filepath.Join(t.TempDir(), "data")
	up := program.StartUp(t, dataDir, "")
	play(t, "desktop", []string{"LOGIN=" + up.Login}, diskSteps(t, dataDir))
	up.Stop()
}

func TestTerminalInABrowser(t *testing.T) {
	dataDir := filepath.Join(t.TempDir(), "data")
	up := program.StartUp(t, dataDir, "")
	play(t, "terminal", []string{"LOGIN=" + up.Login}, diskSteps(t, dataDir))
	up.Stop()
}

// A crash of everything but the sessions: they are adopted, not started again,
// and the page that watched goes on.
func TestSessionsSurviveACrash(t *testing.T) {
	dataDir := filepath.Join(t.TempDir(), "data")
	up := program.StartUp(t, dataDir, "")
	asked := steps{
		"kill": func(string) (string, error) { up.Kill(); return "", nil },
		"restart": func(string) (string, error) {
			up = program.StartUp(t, dataDir, up.Listen)
			return "", nil
		},
		"adopted": func(session string) (string, error) {
			found, err := up.API().Session(program.Limit(t), session)
			if err == nil && (found.State != models.SessionRunning || found.Generation != 1) {
				err = fmt.Errorf("the session is %s in generation %d", found.State, found.Generation)
			}
			commands, listErr := up.API().SessionCommands(program.Limit(t), session, client.Page{})
			if err == nil {
				err = listErr
			}
			if err == nil && len(commands.Items) != 1 {
				err = fmt.Errorf("the session was given %d commands, its start being one", len(commands.Items))
			}
			return "", err
		},
	}
	maps.Copy(asked, diskSteps(t, dataDir))
	play(t, "adoption", []string{"LOGIN=" + up.Login}, asked)
	up.Stop()
	if !strings.Contains(up.Log.String(), "One session keeps running") {
		t.Errorf("the end does not tell of the session that goes on:\n%s", up.Log)
	}
}
