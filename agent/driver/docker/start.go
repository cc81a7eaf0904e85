package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/health"
	"github.com/streamspace/streamspace/models"
)

const (
	// maxProcesses is how many processes and threads a session may have. Chromium
	// with many tabs has some hundreds.
	maxProcesses = 4096
	// readyEvery is how often a session's port is tried while it comes up.
	readyEvery = 50 * time.Millisecond
	// logged bounds what the engine keeps of a session's output.
	logged = "1m"
)

// capabilities are those that a container keeps: what programs need that begin
// as root in it, hand out their files, and go on as another user.
func capabilities() []string {
	return []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"}
}

// Start implements driver.Driver.
func (d *Driver) Start(ctx context.Context, spec driver.Spec) (driver.Runtime, error) {
	if spec.SessionID == "" || spec.Template.Spec.BaseImage == "" {
		return driver.Runtime{}, models.Errorf(models.CodeTemplateInvalid, "the template %q names no image (spec.baseImage)", spec.Template.Metadata.Name)
	}
	release, err := d.sessions.Take(ctx, spec.SessionID)
	if err != nil {
		return driver.Runtime{}, err
	}
	defer release()
	if runtime, there, err := d.already(ctx, spec.Ref); there || err != nil {
		return runtime, err
	}
	if err := d.stopUpTo(ctx, spec.Ref); err != nil {
		return driver.Runtime{}, err
	}
	runtime, err := d.launch(ctx, spec)
	if err != nil {
		d.tidy(ctx, spec)
		return driver.Runtime{}, err
	}
	return runtime, nil
}

// already gives the session's runtime if it is up, and refuses what a newer one
// has overtaken and what has run and ended. One that was made and did not come
// up, as when the agent was killed, is no runtime yet.
func (d *Driver) already(ctx context.Context, ref driver.Ref) (runtime driver.Runtime, there bool, err error) {
	all, err := d.of(ctx, ref.SessionID)
	if err != nil {
		return runtime, false, err
	}
	for _, one := range all {
		other := refOf(one.Labels)
		if other.Generation > ref.Generation {
			return runtime, false, models.Errorf(models.CodeTransitionIllegal, "session %q runs in the later generation %d", ref.SessionID, other.Generation)
		}
		if other != ref {
			continue
		}
		found, err := d.inspect(ctx, one.ID)
		if err != nil {
			return runtime, false, err
		}
		runtime, alive := d.runtime(found)
		switch {
		case !alive:
			return runtime, false, models.Errorf(models.CodeRuntimeExited, "%s", end(found).Reason)
		case found.State.Status == container.StateRunning:
			return runtime, true, d.ready(ctx, found)
		}
	}
	return runtime, false, nil
}

// launch makes a container, starts it, and waits for its stream.
func (d *Driver) launch(ctx context.Context, spec driver.Spec) (driver.Runtime, error) {
	options, err := d.describe(spec)
	if err != nil {
		return driver.Runtime{}, err
	}
	if err := d.haveImage(ctx, spec); err != nil {
		return driver.Runtime{}, err
	}
	d.network.RLock()
	defer d.network.RUnlock()
	if err := d.haveNetwork(ctx); err != nil {
		return driver.Runtime{}, err
	}
	release, err := d.takeHome(ctx, spec)
	if err != nil {
		return driver.Runtime{}, err
	}
	defer release()
	// The engine goes on making what nobody waits for any more, so that is waited
	// for, and removed if it is not wanted.
	made, err := d.engine.ContainerCreate(context.WithoutCancel(ctx), options)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		_, err = d.engine.ContainerStart(context.WithoutCancel(ctx), made.ID, client.ContainerStartOptions{})
	}
	if err != nil {
		return driver.Runtime{}, unreachable("start a container", err)
	}
	found, err := d.inspect(ctx, made.ID)
	if err == nil {
		err = d.ready(ctx, found)
	}
	if err != nil {
		return driver.Runtime{}, err
	}
	runtime, _ := d.runtime(found)
	return runtime, nil
}

// describe is the container that is to be made.
func (d *Driver) describe(spec driver.Spec) (options client.ContainerCreateOptions, err error) {
	wanted := spec.Template.Spec
	box := models.ContainerSpec{}
	if wanted.Container != nil {
		box = *wanted.Container
	}
	labels := map[string]string{
		labelAgent: d.config.AgentID, labelSession: spec.SessionID, labelGeneration: strconv.FormatInt(spec.Generation, 10),
		labelUser: spec.User, labelTemplate: spec.Template.Metadata.Name, labelProtocol: string(wanted.Protocol), labelHome: d.homeOf(spec),
	}
	if spec.PersistentHome {
		labels[labelKept] = "true"
	}
	limits, err := json.Marshal(spec.TimeLimits())
	if err != nil {
		return options, fmt.Errorf("encode time limits: %w", err)
	}
	labels[labelLimits] = string(limits)
	switch wanted.Protocol {
	case models.ProtocolVNC:
		labels[labelPort] = strconv.Itoa(wanted.VNC.ContainerPort())
	case models.ProtocolHTTP:
		if wanted.HTTP == nil || wanted.HTTP.Port == 0 {
			return options, models.Errorf(models.CodeTemplateInvalid, "the template %q does not say on which port its pages are (spec.http.port)", spec.Template.Metadata.Name)
		}
		labels[labelPort], labels[labelHealth] = strconv.Itoa(wanted.HTTP.Port), spec.Template.HealthPath()
		if wanted.HTTP.TLS {
			labels[labelTLS] = "true"
		}
	}
	home := box.HomePath()
	environment := []string{"HOME=" + home, "STREAMSPACE_SESSION=" + spec.SessionID}
	if wanted.Protocol == models.ProtocolTerminal {
		environment = append(environment, "TERM=xterm-256color")
	}
	for _, variable := range wanted.Env {
		environment = append(environment, variable.Name+"="+variable.Value)
	}
	pids, terminal, farewell := int64(maxProcesses), wanted.Protocol == models.ProtocolTerminal, ""
	if terminal {
		farewell = "SIGHUP" // as a terminal that is closed sends; shells mind no other
	}
	host := &container.HostConfig{
		NetworkMode: container.NetworkMode(d.networkName()),
		LogConfig:   container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": logged, "max-file": "2"}},
		CapDrop:     []string{"ALL"}, CapAdd: capabilities(), SecurityOpt: []string{"no-new-privileges"},
		ReadonlyRootfs: box.ReadOnlyRoot,
		Mounts:         []mount.Mount{{Type: mount.TypeVolume, Source: d.homeOf(spec), Target: home}},
		Resources:      container.Resources{PidsLimit: &pids},
	}
	if box.ReadOnlyRoot {
		host.Tmpfs = map[string]string{"/tmp": "", "/run": ""}
	}
	if box.ShmSize != "" {
		if host.ShmSize, err = models.ParseMemory(box.ShmSize); err != nil {
			return options, err
		}
	}
	if spec.Resources.CPU != "" {
		milli, err := models.ParseCPU(spec.Resources.CPU)
		if err != nil {
			return options, err
		}
		host.NanoCPUs = milli * 1_000_000
	}
	if spec.Resources.Memory != "" {
		if host.Memory, err = models.ParseMemory(spec.Resources.Memory); err != nil {
			return options, err
		}
		host.MemorySwap, labels[labelMemory] = host.Memory, spec.Resources.Memory // no swap besides
	}
	return client.ContainerCreateOptions{Name: d.containerName(spec.Ref), HostConfig: host, Config: &container.Config{
		Image: wanted.BaseImage, Cmd: box.Command, Env: environment, WorkingDir: box.WorkingDir(), Labels: labels, Tty: terminal, OpenStdin: terminal, StopSignal: farewell,
	}}, nil
}

// ready waits until the session's stream can be dialled.
func (d *Driver) ready(ctx context.Context, found container.InspectResponse) error {
	port := found.Config.Labels[labelPort]
	if port == "" {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, d.config.ReadyWithin)
	defer cancel()
	for tick := time.NewTicker(readyEvery); ; {
		if answers(waiting, found) == nil {
			return nil
		}
		now, err := d.inspect(ctx, found.ID)
		if err != nil {
			return err
		}
		if _, alive := d.runtime(now); !alive {
			reason := end(now).Reason + " before its stream was there"
			if words := d.lastWords(ctx, now); words != "" {
				reason += ". Its last words: " + words
			}
			return models.Errorf(models.CodeCommandFailed, "%s", reason)
		}
		select {
		case <-tick.C:
		case <-waiting.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return models.Errorf(models.CodeCommandFailed, "nothing listened on port %s of the session's container within %s", port, d.config.ReadyWithin)
		}
	}
}

// answers tells whether the session's stream can be dialled, and its pages are
// ready if it has some.
func answers(ctx context.Context, found container.InspectResponse) error {
	path, pages := found.Config.Labels[labelHealth]
	if pages {
		return health.Ask(ctx, models.HTTP{HealthPath: path, TLS: found.Config.Labels[labelTLS] != ""},
			func(ctx context.Context) (net.Conn, error) { return dialPort(ctx, found) })
	}
	conn, err := dialPort(ctx, found)
	if err != nil {
		return err
	}
	return conn.Close()
}

// dialPort connects to a container's stream.
func dialPort(ctx context.Context, found container.InspectResponse) (net.Conn, error) {
	at, known := address(found)
	if !known {
		return nil, fmt.Errorf("the container has no address")
	}
	port, err := strconv.ParseUint(found.Config.Labels[labelPort], 10, 16)
	if err != nil {
		return nil, fmt.Errorf("the container's port: %w", err)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", netip.AddrPortFrom(at, uint16(port)).String())
}

// tidy removes what a start that failed has made.
func (d *Driver) tidy(ctx context.Context, spec driver.Spec) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyWithin)
	defer cancel()
	labels := map[string]string{labelHome: d.homeOf(spec)}
	if spec.PersistentHome {
		labels[labelKept] = "true"
	}
	if err := d.remove(ctx, d.containerName(spec.Ref), labels); err != nil {
		d.config.Logger.Error("what a failed start has left is removed with the session", "session", spec.SessionID, "error", err)
	}
}

// networkName names the network that the agent's sessions are on.
func (d *Driver) networkName() string { return name("network", d.config.AgentID) }

// networkFor is how long a network is kept that no session is on any more: making
// one takes a tenth of a second, and who ends a session may launch the next.
const networkFor = 10 * time.Second

// noteEnd tells that a session has ended, so that the network may be of no use.
func (d *Driver) noteEnd() {
	select {
	case d.ended <- struct{}{}:
	default: // that is known
	}
}

// leaveNetwork removes the network unless a session is on it. What is in the way of
// that, a start above all, is in the right: the next end tries again.
func (d *Driver) leaveNetwork(ctx context.Context) {
	if !d.network.TryLock() {
		return
	}
	defer d.network.Unlock()
	if all, err := d.containers(ctx); err != nil || len(all) > 0 {
		return
	}
	if _, err := d.engine.NetworkRemove(ctx, d.networkName(), client.NetworkRemoveOptions{}); err != nil && !missing(err) {
		d.config.Logger.Warn("the sessions' network stays", "error", err)
	}
}

// haveNetwork makes the network on which sessions do not reach each other.
func (d *Driver) haveNetwork(ctx context.Context) error {
	_, err := d.engine.NetworkInspect(ctx, d.networkName(), client.NetworkInspectOptions{})
	if err == nil || !missing(err) {
		return unreachable("look at a network", err)
	}
	release, err := d.homes.Take(ctx, d.networkName())
	if err != nil {
		return err
	}
	defer release()
	if _, err := d.engine.NetworkInspect(ctx, d.networkName(), client.NetworkInspectOptions{}); err == nil {
		return nil
	}
	_, err = d.engine.NetworkCreate(ctx, d.networkName(), client.NetworkCreateOptions{Driver: network.NetworkBridge,
		Options: map[string]string{"com.docker.network.bridge.enable_icc": "false"}, Labels: map[string]string{labelAgent: d.config.AgentID}})
	return unreachable("make a network", err)
}
