package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
)

// The images of the tests: busybox, and a VNC server that only greets.
const (
	shellImage  = "streamspace-test/shell:1"
	screenImage = "streamspace-test/screen:1"
	pagesImage  = "streamspace-test/pages:1"
)

// engine is a private Docker engine for all tests of this process.
type engine struct {
	host   string
	client *client.Client
	stop   func() error
}

// TestMain stops the engine that a test has started.
func TestMain(m *testing.M) {
	status := m.Run()
	if started, err := theEngine(); err == nil {
		if err := started.stop(); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "stop the Docker engine:", err)
			status = 1
		}
	}
	os.Exit(status)
}

// theEngine starts the engine when it is first asked for.
var theEngine = sync.OnceValues(startEngine)

func need(t *testing.T) *engine {
	t.Helper()
	started, err := theEngine()
	if err == nil {
		return started
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("in CI there must be a Docker engine: %v", err)
	}
	t.Skipf("SKIPPED: no Docker engine can be started here: %v", err)
	return nil
}

func startEngine() (_ *engine, err error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("only root can start one")
	}
	dir, err := os.MkdirTemp("", "streamspace-docker-")
	if err != nil {
		return nil, err
	}
	var log bytes.Buffer
	host := "unix://" + filepath.Join(dir, "docker.sock")
	daemon := exec.Command("dockerd", "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--host", host, "--bridge", "none", "--log-level", "warn")
	daemon.Stdout, daemon.Stderr = &log, &log
	daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := daemon.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = daemon.Wait() // its log says more
		close(ended)
	}()
	stop := func() error {
		err := daemon.Process.Signal(syscall.SIGTERM)
		<-ended
		// It leaves what it has mounted for a later run.
		if mounts, readErr := os.ReadFile("/proc/self/mounts"); readErr == nil {
			for line := range strings.Lines(string(mounts)) {
				if at := strings.Fields(line)[1]; strings.HasPrefix(at, dir) {
					_ = syscall.Unmount(at, syscall.MNT_DETACH)
				}
			}
		}
		if removeErr := os.RemoveAll(dir); err == nil {
			err = removeErr
		}
		return err
	}
	made, err := client.New(client.WithHost(host))
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(time.Minute); ; {
		if _, err = made.Ping(context.Background(), client.PingOptions{}); err == nil {
			break
		}
		select {
		case <-ended:
			return nil, fmt.Errorf("dockerd ended: %s", log.String())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("dockerd does not answer: %w: %s", err, log.String())
		}
	}
	e := &engine{host: host, client: made, stop: stop}
	if err := e.importImages(dir); err != nil {
		_ = stop()
		return nil, err
	}
	return e, nil
}

func (e *engine) importImages(dir string) error {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("busybox-static: %w", err)
	}
	applets, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		return fmt.Errorf("busybox-static: %w", err)
	}
	shell := newArchive()
	shell.file("bin/busybox", busybox)
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			shell.link("bin/"+applet, "busybox")
		}
	}
	screen, pages := newArchive(), newArchive()
	for source, one := range map[string]*archive{"./testdata/rfb": screen, "../../../test/webapp/serve": pages} {
		server := filepath.Join(dir, "server")
		build := exec.Command("go", "build", "-o", server, source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if said, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", source, err, said)
		}
		program, err := os.ReadFile(server)
		if err != nil {
			return err
		}
		one.file("server", program)
	}
	for image, one := range map[string]struct {
		archive *archive
		changes []string
	}{
		shellImage:  {shell, []string{"ENV PATH=/bin", `CMD ["sh"]`}},
		screenImage: {screen, []string{`CMD ["/server"]`}},
		pagesImage:  {pages, []string{`CMD ["/server"]`}},
	} {
		content, err := one.archive.close()
		if err != nil {
			return err
		}
		imported, err := e.client.ImageImport(context.Background(), client.ImageImportSource{Source: content, SourceName: "-"}, image,
			client.ImageImportOptions{Changes: one.changes})
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, imported)
		if closeErr := imported.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// archive is the root file system of an image.
type archive struct {
	content bytes.Buffer
	writer  *tar.Writer
	err     error
}

func newArchive() *archive {
	a := &archive{}
	a.writer = tar.NewWriter(&a.content)
	a.header(tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777})
	a.header(tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755})
	return a
}

func (a *archive) header(header tar.Header) {
	if a.err == nil {
		a.err = a.writer.WriteHeader(&header)
	}
}

func (a *archive) file(name string, content []byte) {
	a.header(tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))})
	if a.err == nil {
		_, a.err = a.writer.Write(content)
	}
}

func (a *archive) link(name, to string) {
	a.header(tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink})
}

func (a *archive) close() (io.Reader, error) {
	if a.err == nil {
		a.err = a.writer.Close()
	}
	return &a.content, a.err
}
