// Package enginetest runs private Docker engines for tests, beside any other,
// and makes images for them out of what is on this machine: there is no registry
// to pull from.
package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// answersWithin bounds how long an engine may take to come up.
const answersWithin = time.Minute

// Engine is a Docker engine of a test's own. One goroutine uses it.
type Engine struct {
	// Host is its address, as DOCKER_HOST has it.
	Host string

	dir, socket string
	http        *http.Client
	daemon      *exec.Cmd
	log         bytes.Buffer
	ended       chan struct{}
}

// Start starts an engine in a directory of its own. Whoever calls it calls Stop.
func Start() (*Engine, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can start a Docker engine")
	}
	dir, err := os.MkdirTemp("", "streamspace-docker-")
	if err != nil {
		return nil, err
	}
	e := &Engine{dir: dir, socket: filepath.Join(dir, "docker.sock")}
	e.Host = "unix://" + e.socket
	e.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", e.socket)
	}}}
	if err := e.Begin(); err != nil {
		return nil, errors.Join(err, e.Stop())
	}
	return e, nil
}

// Begin starts the engine's program again after Kill, and returns once it
// answers.
func (e *Engine) Begin() error {
	e.log.Reset()
	e.daemon = exec.Command("dockerd", "--data-root", filepath.Join(e.dir, "data"), "--exec-root", filepath.Join(e.dir, "exec"),
		"--pidfile", filepath.Join(e.dir, "pid"), "--host", e.Host, "--bridge", "none", "--log-level", "warn")
	e.daemon.Stdout, e.daemon.Stderr = &e.log, &e.log
	e.daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	e.ended = make(chan struct{})
	if err := e.daemon.Start(); err != nil {
		close(e.ended)
		return err
	}
	go func(daemon *exec.Cmd, ended chan struct{}) {
		_ = daemon.Wait() // its log says more
		close(ended)
	}(e.daemon, e.ended)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	tooLate := time.After(answersWithin)
	for {
		if e.answers() {
			return nil
		}
		select {
		case <-tick.C:
		case <-e.ended:
			return fmt.Errorf("dockerd ended: %s", e.log.String())
		case <-tooLate:
			return fmt.Errorf("dockerd does not answer within %v", answersWithin)
		}
	}
}

func (e *Engine) answers() bool {
	response, err := e.http.Get("http://engine/_ping")
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusOK
}

// Kill ends the engine's program as a crash does. Containers may go on.
func (e *Engine) Kill() error {
	err := e.daemon.Process.Kill()
	<-e.ended
	// Its containerd dies with it. Where nobody reaps that, the next engine would take
	// it for alive, and wait for it.
	if removeErr := os.Remove(filepath.Join(e.dir, "exec", "containerd", "containerd.pid")); err == nil && !errors.Is(removeErr, fs.ErrNotExist) {
		err = removeErr
	}
	return err
}

// Pause halts the engine's program, and Resume has it go on.
func (e *Engine) Pause() error { return e.daemon.Process.Signal(syscall.SIGSTOP) }

// Resume undoes Pause.
func (e *Engine) Resume() error { return e.daemon.Process.Signal(syscall.SIGCONT) }

// Stop ends the engine and its containers, and removes all that it has.
func (e *Engine) Stop() error {
	var failed []error
	if e.daemon != nil && e.daemon.Process != nil {
		if e.answers() {
			failed = append(failed, e.clear())
		}
		if err := e.daemon.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			failed = append(failed, err)
		}
		<-e.ended
	}
	// It leaves what it has mounted for a later run.
	mounts, err := os.ReadFile("/proc/self/mounts")
	failed = append(failed, err)
	for line := range strings.Lines(string(mounts)) {
		if at := strings.Fields(line)[1]; strings.HasPrefix(at, e.dir) {
			_ = syscall.Unmount(at, syscall.MNT_DETACH)
		}
	}
	return errors.Join(append(failed, os.RemoveAll(e.dir))...)
}

// clear removes containers and networks: an engine that ends leaves the latter's
// bridges on the machine.
func (e *Engine) clear() error {
	for _, kind := range [][2]string{{"ps --all --quiet", "rm --force"}, {"network ls --quiet --filter type=custom", "network rm"}} {
		said, err := e.Docker(strings.Fields(kind[0])...)
		if err == nil && said != "" {
			_, err = e.Docker(append(strings.Fields(kind[1]), strings.Fields(said)...)...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Import makes an image of a root file system as a tar archive. The changes are
// lines of a Dockerfile.
func (e *Engine) Import(ctx context.Context, image string, archive io.Reader, changes ...string) error {
	name, tag, _ := strings.Cut(image, ":")
	query := url.Values{"fromSrc": {"-"}, "repo": {name}, "tag": {tag}, "changes": changes}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://engine/images/create?"+query.Encode(), archive)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "text/plain")
	response, err := e.http.Do(request)
	if err != nil {
		return fmt.Errorf("import %s: %w", image, err)
	}
	said, err := io.ReadAll(response.Body)
	if closeErr := response.Body.Close(); err == nil {
		err = closeErr
	}
	if err == nil && (response.StatusCode != http.StatusOK || bytes.Contains(said, []byte(`"error"`))) {
		err = fmt.Errorf("%s: %s", response.Status, said)
	}
	if err != nil {
		return fmt.Errorf("import %s: %w", image, err)
	}
	return nil
}

// Docker runs Docker's own command line on the engine and gives its output.
func (e *Engine) Docker(args ...string) (string, error) {
	command := exec.Command("docker", append([]string{"--host", e.Host}, args...)...)
	var said bytes.Buffer
	command.Stderr = &said
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, said.String())
	}
	return strings.TrimSpace(string(output)), nil
}
