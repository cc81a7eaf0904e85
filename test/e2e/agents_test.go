package e2e

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// A control plane without an agent of its own, and two agents with data
// directories of their own.
func TestTwoAgentsOnOneServer(t *testing.T) {
	dir := t.TempDir()
	program.Reap(t, dir)
	dataDir := filepath.Join(dir, "server")
	server := program.Start(t, nil, "server", "--data-dir", dataDir, "--listen", "127.0.0.1:0")
	address := strings.TrimSuffix(strings.Fields(server.Line("StreamSpace serves on"))[3], ".")
	if parsed, err := url.Parse(address); err != nil || parsed.Port() == "" {
		t.Fatalf("the server says that it serves on %q", address)
	}
	api := program.Admin(t, address, dataDir)

	if _, err := api.Launch(program.Limit(t), client.LaunchRequest{Template: "terminal"}); client.CodeOf(err) != models.CodeNoSuitableAgent {
		t.Errorf("without agents a launch says: %v", err)
	}

	var agents []*program.Program
	for _, id := range []string{"east", "west"} {
		key, err := api.CreateAgentKey(program.Limit(t), id)
		if err != nil {
			t.Fatal(err)
		}
		keyFile := filepath.Join(dir, id+".key")
		if err := os.WriteFile(keyFile, []byte(key.Key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		agents = append(agents, program.Start(t, nil, "agent", "--server", address, "--id", id, "--region", id, "--key-file", keyFile,
			"--data-dir", filepath.Join(dir, id), "--max-sessions", "2"))
	}
	program.Eventually(t, "both agents are online", 30*time.Second, func() error {
		list, err := api.Agents(program.Limit(t), client.Page{})
		if err != nil {
			return err
		}
		online := 0
		for _, agent := range list.Items {
			if agent.Status == models.AgentOnline && agent.Facilities != nil {
				online++
			}
		}
		if online != 2 {
			return fmt.Errorf("%d are online of %d", online, len(list.Items))
		}
		return nil
	})

	for _, region := range []string{"east", "west"} {
		if _, err := api.Launch(program.Limit(t), client.LaunchRequest{ID: "in-" + region, Template: "terminal", Region: region}); err != nil {
			t.Fatal(err)
		}
		running(t, api, "in-"+region)
		session, err := api.Session(program.Limit(t), "in-"+region)
		if err != nil || session.AgentID != region {
			t.Errorf("the session of region %s is on %q, %v", region, session.AgentID, err)
		}
		answers(t, api, "in-"+region)
	}

	// One agent dies. The other's session does not notice, and the first one's
	// is back with its agent.
	agents[0].Kill()
	answers(t, api, "in-west")
	again := program.Start(t, nil, "agent", "--server", address, "--id", "east", "--region", "east", "--key-file", filepath.Join(dir, "east.key"),
		"--data-dir", filepath.Join(dir, "east"), "--max-sessions", "2")
	program.Eventually(t, "the session is back with its agent", 30*time.Second, func() error {
		stream, err := api.Stream(program.Limit(t), "in-east")
		if err == nil {
			_ = stream.Close()
		}
		return err
	})
	answers(t, api, "in-east")
	again.Stop()
	agents[1].Stop()
	server.Stop()
}

// answers types into a terminal session and waits for the output.
func answers(t *testing.T, api *client.Client, id string) {
	t.Helper()
	stream, err := api.Stream(program.Limit(t), id)
	if err != nil {
		t.Fatalf("open the stream of %s: %v", id, err)
	}
	defer func() { _ = stream.Close() }()
	if err := stream.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	nonce := fmt.Sprintf("%d", time.Now().UnixNano())
	command := "echo \"<" + nonce[:9] + "\"\"" + nonce[9:] + ">\"\n"
	message := append([]byte{0, 0, 0, 0, byte(len(command))}, command...)
	if _, err := stream.Write(message); err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	buffer := make([]byte, 32<<10)
	for !strings.Contains(seen.String(), "<"+nonce+">") {
		n, err := stream.Read(buffer)
		if err != nil {
			t.Fatalf("session %s does not answer: %v; it said %q", id, err, seen.String())
		}
		seen.Write(buffer[:n])
	}
}
