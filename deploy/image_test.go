package deploy_test

import (
	"debug/elf"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// binary builds what the image runs, as the Dockerfile does.
func binary(t *testing.T) string {
	t.Helper()
	build := exec.CommandContext(t.Context(), "make", "-C", "..", "static-binary", "VERSION=v9.8.7")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("make static-binary: %v\n%s", err, said)
	}
	return "../bin/static/streamspace"
}

var copied = regexp.MustCompile(`^COPY --from=build (--chown=\S+ )?(\S+) (\S+)$`)

// lastStage writes the Dockerfile's last stage and what it copies into dir, with
// the directory in place of the stages before, which need a registry.
func lastStage(t *testing.T, dir string) {
	t.Helper()
	whole, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	stage := string(whole)[strings.LastIndex(string(whole), "\nFROM ")+1:]
	if !strings.HasPrefix(stage, "FROM scratch\n") || !strings.Contains(string(whole), "RUN make static-binary ") {
		t.Fatalf("the image is made in another way than this test knows:\n%s", stage)
	}
	var lines []string
	for line := range strings.Lines(stage) {
		if found := copied.FindStringSubmatch(strings.TrimSpace(line)); found != nil {
			line = fmt.Sprintf("COPY %s%s %s\n", found[1], strings.TrimPrefix(found[2], "/"), found[3])
		}
		lines = append(lines, line)
	}
	for name, content := range map[string]string{"Dockerfile": strings.Join(lines, ""), "etc/ssl/certs/ca-certificates.crt": "no authority\n"} {
		write(t, filepath.Join(dir, name), []byte(content), 0o644)
	}
	program, err := os.ReadFile(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "src/bin/static/streamspace"), program, 0o755)
	for _, name := range []string{"var/lib/streamspace", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, "src/root", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, name string, content []byte, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(path.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, mode); err != nil {
		t.Fatal(err)
	}
}

// The program of the image needs no library and no interpreter of the system.
func TestTheBinaryIsStatic(t *testing.T) {
	program, err := elf.Open(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = program.Close() }()
	libraries, err := program.ImportedLibraries()
	if err == nil && len(libraries) > 0 {
		t.Errorf("it needs %v", libraries)
	}
	for _, part := range program.Progs {
		if part.Type == elf.PT_INTERP {
			t.Error("it needs an interpreter")
		}
	}
}

// The image serves as a user without rights, on a root that nobody can write,
// and its own command line reaches it.
func TestTheImageRuns(t *testing.T) {
	docker := startEngine(t)
	dir := t.TempDir()
	lastStage(t, dir)
	docker.must("build", "--quiet", "--tag", "streamspace:test", dir)
	if said := docker.must("run", "--rm", "--network", "none", "streamspace:test", "version"); !strings.Contains(said, "v9.8.7") {
		t.Errorf("its version is %q", said)
	}
	if user := docker.must("image", "inspect", "--format", "{{.Config.User}}", "streamspace:test"); user != "65532:65532" {
		t.Errorf("it runs as %s", user)
	}
	address := freeAddress(t)
	docker.must("run", "--detach", "--name", "server", "--network", "host", "--read-only", "--tmpfs", "/tmp", "--volume", "data:/var/lib/streamspace",
		"--cap-drop", "ALL", "--security-opt", "no-new-privileges", "streamspace:test", "server", "--listen", address)
	eventually(t, "the server is ready", func() error {
		if docker.must("inspect", "--format", "{{.State.Running}}", "server") != "true" {
			t.Fatalf("the server has ended: %s", docker.must("logs", "server"))
		}
		answer, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		if body, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", answer.Status, body)
		}
		return nil
	})
	if key := docker.must("exec", "server", "/streamspace", "agents", "key", "edge", "--server", "http://"+address); !strings.HasPrefix(key, "ss") {
		t.Errorf("the agent's key is %q", key)
	}
	if list := docker.must("exec", "server", "/streamspace", "templates", "list", "--server", "http://"+address); !strings.Contains(list, "webtop") {
		t.Errorf("the templates are\n%s", list)
	}
	docker.must("stop", "--time", "30", "server")
	if state := docker.must("inspect", "--format", "{{.State.ExitCode}}", "server"); state != "0" {
		t.Errorf("it ended with %s", state)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}
