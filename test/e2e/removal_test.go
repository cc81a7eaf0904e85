package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

func TestRemovingAnAgentInABrowser(t *testing.T) {
	dir := t.TempDir()
	program.Reap(t, dir)
	dataDir := filepath.Join(dir, "server")
	server := program.Start(t, nil, "server", "--data-dir", dataDir, "--listen", "127.0.0.1:0")
	address := strings.TrimSuffix(strings.Fields(server.Line("StreamSpace serves on"))[3], ".")
	api := program.Admin(t, address, dataDir)
	key, err := api.CreateAgentKey(program.Limit(t), "edge")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "edge.key"), []byte(key.Key+"\n"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	agent := program.Start(t, nil, "agent", "--server", address, "--id", "edge", "--key-file", filepath.Join(dir, "edge.key"), "--data-dir", filepath.Join(dir, "edge"))
	program.Eventually(t, "the agent is online", 30*time.Second, func() error {
		known, err := api.Agent(program.Limit(t), "edge")
		if err == nil && (known.Status != models.AgentOnline || known.Facilities == nil) {
			err = fmt.Errorf("it is %s", known.Status)
		}
		return err
	})
	link, err := api.LoginLink(program.Limit(t))
	if err != nil {
		t.Fatal(err)
	}
	play(t, "removal", []string{"LOGIN=" + link.URL}, steps{
		"away": func(string) (string, error) {
			agent.Kill()
			return "", nil
		},
		"removed": func(session string) (string, error) {
			_, err := api.Agent(program.Limit(t), "edge")
			if client.CodeOf(err) != models.CodeAgentUnknown {
				return "", fmt.Errorf("the agent gives %w", err)
			}
			return "", nil
		},
	})
	server.Stop()
}
