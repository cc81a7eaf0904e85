package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/test/program"
)

// scenarioWithin bounds one scenario. Each step in it has a limit of its own,
// which tells more.
const scenarioWithin = 4 * time.Minute

// steps are what a scenario asks of the test, which can do what a page cannot:
// look at the disk and at processes, or kill the program. Each gets the
// scenario's argument and gives an answer.
type steps map[string]func(argument string) (string, error)

// play runs browser/NAME.mjs. Lines that begin with @ ask for a step; all
// others are logged.
func play(t *testing.T, name string, env []string, steps steps) {
	t.Helper()
	chromium := os.Getenv("STREAMSPACE_CHROMIUM")
	if chromium == "" {
		chromium = "/usr/bin/chromium"
	}
	if _, err := os.Stat(chromium); err != nil {
		missing(t, "there is no "+chromium+"; run scripts/install-deps, or set STREAMSPACE_CHROMIUM")
	}
	if _, err := os.Stat("../../internal/console/dist/index.html"); err != nil {
		t.Fatal("the console has not been built, and this test looks at it; run: make build")
	}
	if _, err := os.Stat("node_modules/playwright-core"); err != nil {
		install := exec.Command("npm", "ci", "--no-audit", "--no-fund")
		if out, err := install.CombinedOutput(); err != nil {
			t.Fatalf("npm ci: %v\n%s", err, out)
		}
	}
	artifacts, err := filepath.Abs("artifacts")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(artifacts, 0o755); err != nil {
		t.Fatal(err)
	}
	node := exec.Command("node", filepath.Join("browser", name+".mjs"))
	node.Env = append(append(os.Environ(), "CHROMIUM="+chromium, "ARTIFACTS="+artifacts, "SCENARIO="+name), env...)
	log := &program.Buffer{}
	node.Stderr = log
	answers, err := node.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	questions, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(scenarioWithin, func() { _ = node.Process.Kill() })
	defer late.Stop()
	scanner := bufio.NewScanner(questions)
	for scanner.Scan() {
		question, isStep := strings.CutPrefix(scanner.Text(), "@")
		if !isStep {
			t.Log(scanner.Text())
			continue
		}
		name, argument, _ := strings.Cut(question, " ")
		var reply struct {
			Answer string `json:"answer"`
			Error  string `json:"error,omitempty"`
		}
		if step := steps[name]; step == nil {
			reply.Error = "the test has no step " + name
		} else if answer, err := step(argument); err != nil {
			reply.Error = err.Error()
		} else {
			reply.Answer = answer
		}
		encoded, err := json.Marshal(reply)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(answers, "%s\n", encoded); err != nil {
			t.Errorf("answer the scenario: %v", err)
			break
		}
	}
	if err := node.Wait(); err != nil {
		t.Fatalf("the scenario %s failed (%v); pictures are in test/e2e/artifacts\n%s", name, err, log)
	}
}

// missing skips for want of a part of the system, and fails where everything
// is supposed to be there.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip("SKIPPED: " + what)
}

// diskSteps look at what sessions leave on this machine.
func diskSteps(t *testing.T, dataDir string) steps {
	var tree []int
	return steps{
		// file waits for a file of a session's home: "SESSION NAME".
		"file": func(argument string) (string, error) {
			session, name, _ := strings.Cut(argument, " ")
			var content []byte
			err := soon(func() error {
				for _, path := range program.Paths(t, dataDir, session) {
					if filepath.Base(path) != name {
						continue
					}
					var err error
					if content, err = os.ReadFile(path); err == nil && len(content) > 0 {
						return nil
					}
				}
				return fmt.Errorf("session %s has no file %s under %s", session, name, dataDir)
			})
			return string(content), err
		},
		// note remembers the session's processes.
		"note": func(session string) (string, error) {
			tree = program.ProcessesOf(t, session)
			if len(tree) < 2 {
				return "", fmt.Errorf("the session should have processes; there is only\n%s", program.Describe(tree))
			}
			return program.Describe(tree), nil
		},
		// gone waits until nothing of the session is left.
		"gone": func(session string) (string, error) {
			return "", soon(func() error {
				for _, pid := range tree {
					if arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && len(arguments) > 0 {
						return fmt.Errorf("process %d still runs: %s", pid, program.Describe([]int{pid}))
					}
				}
				if left := program.ProcessesOf(t, session); len(left) > 0 {
					return fmt.Errorf("processes are left:\n%s", program.Describe(left))
				}
				if left := program.Paths(t, filepath.Join(dataDir, "agent"), session); len(left) > 0 {
					return fmt.Errorf("files are left: %s", strings.Join(left, ", "))
				}
				return nil
			})
		},
	}
}

// soon repeats probe until it gives nil, and gives its last error otherwise.
func soon(probe func() error) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := probe()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		<-time.After(20 * time.Millisecond)
	}
}
