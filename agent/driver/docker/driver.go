// Package docker runs sessions as containers of a Docker engine.
//
// Labels alone say which containers and volumes are whose: the agent's, for
// which session and which generation. So an agent that starts again finds its
// sessions where they are, and one agent never touches another's on the same
// engine. Nothing is published on the machine's network: sessions are on a
// network of their own, on which they do not reach each other, and the agent
// dials them there.
package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/turns"
	"github.com/streamspace/streamspace/models"
)

// The defaults of Config.
const (
	// DefaultReadyWithin is long, as a desktop in a container may set itself up
	// first.
	DefaultReadyWithin = 2 * time.Minute
	DefaultPullWithin  = 30 * time.Minute
	DefaultStopGrace   = 5 * time.Second
)

// closeWithin bounds Close.
const closeWithin = 5 * time.Second

// tidyWithin bounds the removal of what a start or a session leaves behind.
const tidyWithin = time.Minute

// Config configures a Driver. AgentID must be set; the zero value of any other
// field means its default.
type Config struct {
	// AgentID is whose containers these are.
	AgentID string
	// Host is the engine, such as unix:///var/run/docker.sock; by default what
	// DOCKER_HOST says, or else that.
	Host string
	// ConfigDir has the file config.json, in which `docker login` keeps credentials
	// for registries; by default what DOCKER_CONFIG says, or else .docker in the
	// user's home. It is read at each pull.
	ConfigDir string
	// Logger discards by default.
	Logger *slog.Logger
	// ReadyWithin bounds how long a session's stream may take to be there, once
	// its image is; DefaultReadyWithin.
	ReadyWithin time.Duration
	// PullWithin bounds the pull of an image; DefaultPullWithin.
	PullWithin time.Duration
	// StopGrace is how long programs have to end by themselves when a session is
	// stopped, before they are killed, in whole seconds; DefaultStopGrace.
	StopGrace time.Duration
}

// Driver implements driver.Driver. Safe for concurrent use.
type Driver struct {
	config Config
	engine *client.Client
	// sessions are the turns of sessions, homes those of persistent homes. Who
	// wants both takes the session's first.
	sessions, homes *turns.Turns

	// network is held by starts, and wholly by who removes the network.
	network sync.RWMutex
	// ended has a token when a session has ended.
	ended chan struct{}

	mu        sync.Mutex
	watched   bool
	terminals map[string]*shared
}

var (
	_ driver.Driver      = (*Driver)(nil)
	_ driver.ImageHolder = (*Driver)(nil)
)

// New makes a driver, and finds out that the engine answers.
func New(ctx context.Context, config Config) (*Driver, error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	for field, otherwise := range map[*time.Duration]time.Duration{
		&config.ReadyWithin: DefaultReadyWithin, &config.PullWithin: DefaultPullWithin, &config.StopGrace: DefaultStopGrace,
	} {
		if *field <= 0 {
			*field = otherwise
		}
	}
	engine, err := connect(ctx, config.Host)
	if err != nil {
		return nil, err
	}
	return &Driver{config: config, engine: engine, sessions: turns.New(), homes: turns.New(), ended: make(chan struct{}, 1), terminals: map[string]*shared{}}, nil
}

// connect finds an engine that answers.
func connect(ctx context.Context, host string) (*client.Client, error) {
	options := []client.Opt{client.FromEnv}
	if host != "" {
		options = append(options, client.WithHost(host))
	}
	engine, err := client.New(options...)
	if err != nil {
		return nil, fmt.Errorf("the Docker engine's address: %w", err)
	}
	if _, err := engine.Ping(ctx, client.PingOptions{}); err != nil {
		_ = engine.Close()
		return nil, &models.Error{Code: models.CodeUnavailable, Retryable: true, Err: err,
			Message: fmt.Sprintf("the Docker engine at %s does not answer; see that it runs, and that this user may use its socket", engine.DaemonHost())}
	}
	return engine, nil
}

// Answers tells whether an engine answers at the address, and if not why.
func Answers(ctx context.Context, host string) error {
	engine, err := connect(ctx, host)
	if err != nil {
		return err
	}
	return engine.Close()
}

// Close removes the network if no session is on it, and gives back connections to
// the engine. Sessions go on. No other method may be called afterwards.
func (d *Driver) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	d.leaveNetwork(ctx)
	return d.engine.Close()
}

// Platform implements driver.Driver.
func (d *Driver) Platform() string { return models.PlatformDocker }

// Facilities implements driver.Driver. What sessions need is in their images.
func (d *Driver) Facilities(context.Context, []string) ([]string, error) { return nil, nil }

// The labels of containers and volumes.
const (
	labelAgent      = "io.streamspace.agent"
	labelSession    = "io.streamspace.session"
	labelGeneration = "io.streamspace.generation"
	labelUser       = "io.streamspace.user"
	labelTemplate   = "io.streamspace.template"
	labelProtocol   = "io.streamspace.protocol"
	labelPort       = "io.streamspace.port"
	// labelHealth is the path that answers once a session's pages are ready, and
	// labelTLS that they speak HTTPS.
	labelHealth = "io.streamspace.http.health"
	labelTLS    = "io.streamspace.http.tls"
	labelMemory = "io.streamspace.memory"
	labelLimits = "io.streamspace.limits"
	// labelHome is the volume with the session's home, and labelKept that it
	// outlives the session.
	labelHome = "io.streamspace.home"
	labelKept = "io.streamspace.home.kept"
)

// slugLength bounds the readable part of names.
const slugLength = 40

// name gives what is made for several things a name that an engine takes, and
// that no others have.
func name(kind string, things ...string) string {
	slug := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return -1
	}, things[len(things)-1])
	sum := sha256.Sum256([]byte(strings.Join(things, "\x00")))
	return fmt.Sprintf("streamspace-%s-%.*s-%s", kind, slugLength, slug, hex.EncodeToString(sum[:6]))
}

// containerName names a runtime after its session and generation.
func (d *Driver) containerName(ref driver.Ref) string {
	return fmt.Sprintf("%s-%d", name("session", d.config.AgentID, ref.SessionID), ref.Generation)
}

// mine restricts to what is this agent's.
func (d *Driver) mine() client.Filters {
	return make(client.Filters).Add("label", labelAgent+"="+d.config.AgentID)
}

// containers lists the agent's containers, those that have ended too.
func (d *Driver) containers(ctx context.Context) ([]container.Summary, error) {
	found, err := d.engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: d.mine()})
	if err != nil {
		return nil, unreachable("list containers", err)
	}
	return found.Items, nil
}

// of lists the containers of a session.
func (d *Driver) of(ctx context.Context, sessionID string) ([]container.Summary, error) {
	all, err := d.containers(ctx)
	if err != nil {
		return nil, err
	}
	var some []container.Summary
	for _, one := range all {
		if one.Labels[labelSession] == sessionID {
			some = append(some, one)
		}
	}
	return some, nil
}

// Inventory implements driver.Driver. Containers that were made and not started
// are among them, since a start may have been interrupted.
func (d *Driver) Inventory(ctx context.Context) ([]driver.Runtime, error) {
	all, err := d.containers(ctx)
	if err != nil {
		return nil, err
	}
	var runtimes []driver.Runtime
	for _, one := range all {
		if over(one.State) {
			continue // their ends are told
		}
		found, err := d.inspect(ctx, one.ID)
		if models.CodeOf(err) == models.CodeSessionNotRunning {
			continue // it has just gone
		}
		if err != nil {
			return nil, err
		}
		if runtime, alive := d.runtime(found); alive {
			runtimes = append(runtimes, runtime)
		}
	}
	return runtimes, nil
}

// inspect gives models.CodeSessionNotRunning for a container that is not there.
func (d *Driver) inspect(ctx context.Context, nameOrID string) (container.InspectResponse, error) {
	found, err := d.engine.ContainerInspect(ctx, nameOrID, client.ContainerInspectOptions{})
	if missing(err) {
		return container.InspectResponse{}, models.Errorf(models.CodeSessionNotRunning, "there is no such container")
	}
	if err != nil {
		return container.InspectResponse{}, unreachable("look at a container", err)
	}
	return found.Container, nil
}

// runtime describes a container; alive tells that it has not ended.
func (d *Driver) runtime(found container.InspectResponse) (runtime driver.Runtime, alive bool) {
	labels := found.Config.Labels
	runtime = driver.Runtime{Ref: refOf(labels), Protocol: models.Protocol(labels[labelProtocol]), TimeLimits: limitsOf(labels[labelLimits]),
		Metadata: map[string]any{"container": strings.TrimPrefix(found.Name, "/"), "image": found.Config.Image}}
	// Of one that was made and not started it is when it was made.
	for _, said := range []string{found.State.StartedAt, found.Created} {
		if at, err := time.Parse(time.RFC3339Nano, said); err == nil && at.Year() > 1 {
			runtime.StartedAt = at.UTC()
			break
		}
	}
	return runtime, found.State.Status != container.StateExited && found.State.Status != container.StateDead
}

// address is where a container's ports are dialled.
func address(found container.InspectResponse) (netip.Addr, bool) {
	if found.NetworkSettings != nil {
		for _, network := range found.NetworkSettings.Networks {
			if network.IPAddress.IsValid() {
				return network.IPAddress, true
			}
		}
	}
	return netip.Addr{}, false
}
