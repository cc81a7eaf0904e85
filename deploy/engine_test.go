package deploy_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// dockerEngine is a Docker engine of this test's own.
type dockerEngine struct {
	t    *testing.T
	host string
}

// startEngine starts one, and skips the test where there can be none. It has no
// network: containers have the machine's, or none.
func startEngine(t *testing.T) *dockerEngine {
	t.Helper()
	if _, err := exec.LookPath("dockerd"); err != nil || os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatalf("a Docker engine needs root and dockerd (%v)", err)
		}
		t.Skipf("SKIPPED: a Docker engine needs root and dockerd (%v)", err)
	}
	dir, err := os.MkdirTemp("", "streamspace-docker-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	e := &dockerEngine{t: t, host: "unix://" + filepath.Join(dir, "docker.sock")}
	var log bytes.Buffer
	daemon := exec.Command("dockerd", "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--host", e.host, "--bridge", "none", "--iptables=false", "--log-level", "warn")
	daemon.Stdout, daemon.Stderr = &log, &log
	daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = daemon.Wait() // its log says more
		close(ended)
	}()
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		<-ended
		// It leaves what it has mounted for a later run.
		if mounts, err := os.ReadFile("/proc/self/mounts"); err == nil {
			for line := range strings.Lines(string(mounts)) {
				if at := strings.Fields(line)[1]; strings.HasPrefix(at, dir) {
					_ = syscall.Unmount(at, syscall.MNT_DETACH)
				}
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the engine answers", func() error {
		select {
		case <-ended:
			t.Fatalf("dockerd ended: %s", log.String())
		default:
		}
		_, err := e.try("version")
		return err
	})
	return e
}

// try runs the docker command.
func (e *dockerEngine) try(arguments ...string) (string, error) {
	command := exec.CommandContext(e.t.Context(), "docker", append([]string{"--host", e.host}, arguments...)...)
	command.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	said, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(arguments, " "), err, said)
	}
	return strings.TrimSpace(string(said)), nil
}

func (e *dockerEngine) must(arguments ...string) string {
	e.t.Helper()
	said, err := e.try(arguments...)
	if err != nil {
		e.t.Fatal(err)
	}
	return said
}

// eventually waits for what must come.
func eventually(t *testing.T, what string, probe func() error) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C {
		err := probe()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}
