package docker_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/moby/moby/client"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/docker"
	"github.com/streamspace/streamspace/agent/driver/docker/enginetest"
	"github.com/streamspace/streamspace/models"
)

const (
	registryUser   = "robot"
	registrySecret = "a-secret-of-the-registry"
)

// hoard is a registry that gives images only to registryUser.
type hoard struct {
	t    *testing.T
	host string
	// halfway is waited for within each layer.
	halfway chan struct{}
	goOn    func()
}

func newHoard(t *testing.T) *hoard {
	t.Helper()
	h := &hoard{t: t, halfway: make(chan struct{})}
	h.goOn = sync.OnceFunc(func() { close(h.halfway) })
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, secret, _ := r.BasicAuth(); user != registryUser || secret != registrySecret {
			w.Header().Set("WWW-Authenticate", `Basic realm="hoard"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			w = &halting{ResponseWriter: w, request: r, until: h.halfway}
		}
		images.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(h.goOn)
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	h.host = address.Host
	return h
}

// large is more than an image's description has.
const large = 16 << 10

// halting gives half of what is large, and the rest when it may.
type halting struct {
	http.ResponseWriter
	request *http.Request
	until   chan struct{}
}

// Write implements io.Writer.
func (h *halting) Write(content []byte) (int, error) {
	if len(content) < large {
		return h.ResponseWriter.Write(content)
	}
	half := len(content) / 2
	written, err := h.ResponseWriter.Write(content[:half])
	if err != nil {
		return written, err
	}
	if err := http.NewResponseController(h.ResponseWriter).Flush(); err != nil {
		return written, err
	}
	select {
	case <-h.until:
	case <-h.request.Context().Done():
	}
	rest, err := h.ResponseWriter.Write(content[half:])
	return written + rest, err
}

// push puts an image into the registry and gives its name.
func (h *hoard) push(repository string, image v1.Image) string {
	h.t.Helper()
	named := h.host + "/" + repository + ":1"
	reference, err := name.ParseReference(named)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := remote.Write(reference, image, remote.WithAuth(&authn.Basic{Username: registryUser, Password: registrySecret})); err != nil {
		h.t.Fatal(err)
	}
	return named
}

// pushIndex puts an image for several kinds of machines into the registry.
func (h *hoard) pushIndex(repository string, index v1.ImageIndex) string {
	h.t.Helper()
	named := h.host + "/" + repository + ":1"
	reference, err := name.ParseReference(named)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := remote.WriteIndex(reference, index, remote.WithAuth(&authn.Basic{Username: registryUser, Password: registrySecret})); err != nil {
		h.t.Fatal(err)
	}
	return named
}

// config writes a file of credentials and gives its directory.
func (h *hoard) config(content string) string {
	h.t.Helper()
	dir := h.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(content), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return dir
}

// login is the file that `docker login` writes.
func (h *hoard) login(secret string) string {
	return h.config(fmt.Sprintf(`{"auths":{"%s":{"auth":"%s"}}}`, h.host,
		base64.StdEncoding.EncodeToString([]byte(registryUser+":"+secret))))
}

// runnable is an image of busybox and some other layers.
func runnable(t *testing.T) v1.Image {
	t.Helper()
	base, err := random.Image(256<<10, 3)
	if err != nil {
		t.Fatal(err)
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	files := enginetest.NewArchive()
	files.File("bin/busybox", busybox)
	files.Link("bin/sh", "busybox")
	content, err := files.Close()
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
		tarball.WithMediaType(types.DockerLayer))
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(base, layer)
	if err != nil {
		t.Fatal(err)
	}
	settings, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	settings = settings.DeepCopy()
	settings.OS, settings.Architecture = "linux", "amd64"
	settings.Config.Env, settings.Config.Cmd = []string{"PATH=/bin"}, []string{"sh"}
	if image, err = mutate.ConfigFile(image, settings); err != nil {
		t.Fatal(err)
	}
	return image
}

// puller is a driver with the given directory of credentials, and its log.
func (e *engine) puller(t *testing.T, configDir string) (*docker.Driver, *record) {
	t.Helper()
	agentID := fmt.Sprint("puller-", time.Now().UnixNano())
	filters := make(client.Filters).Add("label", "io.streamspace.agent="+agentID)
	t.Cleanup(func() { e.clear(t, filters) })
	log := &record{}
	made, err := docker.New(t.Context(), docker.Config{AgentID: agentID, Host: e.host, StopGrace: time.Second, ConfigDir: configDir,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	return made, log
}

// record keeps what is written.
type record struct {
	mu   sync.Mutex
	said strings.Builder
}

// Write implements io.Writer.
func (r *record) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said.Write(line)
}

func (r *record) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said.String()
}

func pulled(sessionID, image string) driver.Spec {
	spec := shell(driver.Ref{SessionID: sessionID, Generation: 1}, "sh")
	spec.Template.Spec.BaseImage, spec.Template.Spec.Container.PullPolicy = image, models.PullMissing
	return spec
}

func TestAnImageOfAPrivateRegistryIsPulledAndThatIsTold(t *testing.T) {
	e := need(t)
	h := newHoard(t)
	image := h.push("team/desk", runnable(t))
	t.Cleanup(func() { e.forget(t, image) })
	sessions, log := e.puller(t, h.login(registrySecret))
	spec := pulled("eager", image)
	var told []models.Progress
	spec.Report = func(progress models.Progress) {
		if told = append(told, progress); strings.Contains(progress.Message, " MB of ") {
			h.goOn()
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := sessions.Start(ctx, spec); err != nil {
		t.Fatalf("%v, after %v", err, told)
	}
	if len(told) < 3 || told[0].String() != "pulling image "+image || told[len(told)-1] != (models.Progress{}) {
		t.Errorf("told is %v", told)
	}
	for i, progress := range told[:len(told)-1] {
		if i > 0 && progress.Percent < told[i-1].Percent || progress.Percent > 100 {
			t.Errorf("%v comes after %v", progress, told[i-1])
		}
	}
	if last := told[len(told)-2]; last.Percent != 100 || !strings.Contains(last.Message, "(4 of 4 layers, ") {
		t.Errorf("in the end it is %v", last)
	}
	if strings.Contains(log.text(), registrySecret) {
		t.Error("the log has the password")
	}
	// It is there now, so nothing is pulled nor told.
	told = nil
	again := pulled("again", image)
	again.Report = spec.Report
	if _, err := sessions.Start(ctx, again); err != nil || told != nil {
		t.Errorf("%v, told %v", err, told)
	}
}

func (e *engine) forget(t *testing.T, image string) {
	if _, err := e.client.ImageRemove(context.Background(), image, client.ImageRemoveOptions{Force: true}); err != nil {
		t.Errorf("remove the image: %v", err)
	}
}

func TestWhyAnImageCannotBePulledIsSaidInPlainWords(t *testing.T) {
	e := need(t)
	h := newHoard(t)
	foreign, err := mutate.ConfigFile(runnable(t), &v1.ConfigFile{OS: "plan9", Architecture: "mips"})
	if err != nil {
		t.Fatal(err)
	}
	good := h.push("team/desk", runnable(t))
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String() + "/desk:1"
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: foreign,
		Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "plan9", Architecture: "mips"}}})
	odd := h.pushIndex("team/odd", index)
	for name, test := range map[string]struct {
		image, config string
		code          models.ErrorCode
		words         string
		retryable     bool
	}{
		"not there":       {h.host + "/team/none:1", h.login(registrySecret), models.CodeImageMissing, "there is no image", false},
		"no credentials":  {good, h.config("{}"), models.CodeImageDenied, "credentials", false},
		"wrong ones":      {good, h.login("not-" + registrySecret), models.CodeImageDenied, "credentials", false},
		"a file of jokes": {good, h.config("ha ha " + registrySecret), models.CodeImageDenied, "credentials", false},
		"other machines":  {odd, h.login(registrySecret), models.CodeImagePlatform, "kind of machine", false},
		"nobody there":    {nobody, h.login(registrySecret), models.CodeRegistryUnreachable, "cannot be reached", true},
		"no such name":    {"UPPER:1", h.login(registrySecret), models.CodeTemplateInvalid, "no name of an image", false},
	} {
		t.Run(name, func(t *testing.T) {
			sessions, log := e.puller(t, test.config)
			_, err := sessions.Start(t.Context(), pulled("eager", test.image))
			var told *models.Error
			if !errors.As(err, &told) || told.Code != test.code || told.Retryable != test.retryable || !strings.Contains(told.Message, test.words) ||
				!strings.Contains(told.Message, test.image) {
				t.Errorf("the error is %v", err)
			}
			if strings.Contains(fmt.Sprint(err)+log.text(), registrySecret) {
				t.Errorf("a secret is given away: %v; %s", err, log.text())
			}
		})
	}
}
