package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/process/internal/cgroup"
	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
	"github.com/streamspace/streamspace/models"
)

const (
	defaultGeometry = "1280x800"
	// maxSide is the largest side of a screen that X11's 16-bit coordinates can
	// address.
	maxSide = 32767
	// dismissWithin is how long a supervisor may take to end what it had begun
	// to start.
	dismissWithin = 10 * time.Second
	// undoWithin bounds all of cleaning up after a start that has failed.
	undoWithin = 20 * time.Second
)

// Start implements driver.Driver. Besides invalid specs its errors are
// models.CodeNeedsMissing, models.CodeStartTimeout, models.CodeRuntimeExited
// for a program that ends at once, models.CodeTransitionIllegal when a newer
// generation runs, and models.CodeUnavailable for what is wrong with the
// machine or for a persistent home that another session uses.
func (d *Driver) Start(ctx context.Context, spec driver.Spec) (driver.Runtime, error) {
	plan, err := d.plan(spec)
	if err != nil {
		return driver.Runtime{}, err
	}
	release, err := d.turns.Take(ctx, spec.SessionID)
	if err != nil {
		return driver.Runtime{}, d.startError(err)
	}
	defer release()
	running, err := d.replace(ctx, spec.Ref)
	if err != nil {
		return driver.Runtime{}, d.startError(err)
	}
	if running != nil {
		return *running, nil
	}
	if err := d.missing(spec.Template, plan.State.Protocol); err != nil {
		return driver.Runtime{}, err
	}
	limited, cancel := context.WithTimeout(ctx, d.config.StartTimeout)
	defer cancel()
	started, err := d.launch(limited, plan)
	if err != nil {
		return driver.Runtime{}, d.startError(err)
	}
	d.follow(runtimedir.Name(spec.Ref))
	return started, nil
}

// startError makes err one that a user may read.
func (d *Driver) startError(err error) error {
	var told *models.Error
	switch {
	case errors.As(err, &told):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return &models.Error{Code: models.CodeStartTimeout, Retryable: true, Err: err, Message: "the session was not ready in time, " +
			"and what had started was ended; the agent's machine may have too much to do"}
	case errors.Is(err, context.Canceled):
		return &models.Error{Code: models.CodeUnavailable, Retryable: true, Err: err, Message: "the start was given up, and what had started was ended"}
	}
	return &models.Error{Code: models.CodeUnavailable, Retryable: true, Err: err,
		Message: "the agent's machine could not start the session; its administrator finds the cause in the agent's log"}
}

var geometryForm = regexp.MustCompile(`^([1-9][0-9]{0,4})x([1-9][0-9]{0,4})$`)

// plan checks the spec and says what its supervisor is to do.
func (d *Driver) plan(spec driver.Spec) (runtimedir.Assignment, error) {
	assignment := runtimedir.Assignment{
		Dir: d.dir(runtimedir.Name(spec.Ref)),
		State: runtimedir.State{
			SessionID: spec.SessionID, Generation: spec.Generation, User: spec.User,
			Template: spec.Template.Metadata.Name, Protocol: protocol(spec.Template),
			TimeLimits: spec.TimeLimits(),
		},
		Env: spec.Template.Spec.Env, Geometry: defaultGeometry,
		Login: d.login, Path: d.config.Path, Lang: d.lang, Shell: d.shell,
		Cgroups: d.cgroups, StopGrace: d.config.StopGrace,
	}
	if pages := spec.Template.Spec.HTTP; pages != nil {
		assignment.Pages = *pages
		assignment.Pages.HealthPath = spec.Template.HealthPath()
	}
	if process := spec.Template.Spec.Process; process != nil {
		assignment.Command = process.Command
		if process.Geometry != "" {
			assignment.Geometry = process.Geometry
		}
	}
	invalid := func(format string, args ...any) (runtimedir.Assignment, error) {
		return runtimedir.Assignment{}, models.Errorf(models.CodeInvalidRequest, format, args...)
	}
	switch {
	case spec.SessionID == "" || len(runtimedir.Name(spec.Ref)) > 255:
		return invalid("a session's id must have 1 to about 200 characters")
	case !slices.Contains([]models.Protocol{models.ProtocolVNC, models.ProtocolTerminal, models.ProtocolHTTP}, assignment.State.Protocol):
		return invalid("the template's protocol %q is not one that this agent knows; choose vnc, terminal or http", assignment.State.Protocol)
	case assignment.State.Protocol != models.ProtocolTerminal && (len(assignment.Command) == 0 || assignment.Command[0] == ""):
		return invalid("the template %s has no process.command, which says what runs", assignment.State.Template)
	case !validGeometry(assignment.Geometry):
		return invalid("the template's geometry %q is no screen size such as 1280x800", assignment.Geometry)
	case spec.PersistentHome && (spec.User == "" || assignment.State.Template == ""):
		return invalid("a persistent home needs the names of a user and a template")
	}
	for _, variable := range assignment.Env {
		if variable.Name == "" || strings.ContainsAny(variable.Name, "=\x00") || strings.Contains(variable.Value, "\x00") {
			return invalid("the template's environment variable %q has a name or a value that no variable can have", variable.Name)
		}
	}
	if spec.PersistentHome {
		assignment.State.Home = filepath.Join(d.homes, runtimedir.Escape(spec.User), runtimedir.Escape(assignment.State.Template))
	}
	if d.root {
		assignment.Login = login(spec.User)
	}
	err := limit(&assignment, spec.Resources)
	return assignment, err
}

// protocol of a template that names none follows from its screen.
func protocol(template models.Template) models.Protocol {
	switch {
	case template.Spec.Protocol != "":
		return template.Spec.Protocol
	case template.Spec.VNC.Enabled:
		return models.ProtocolVNC
	}
	return models.ProtocolTerminal
}

func validGeometry(geometry string) bool {
	sides := geometryForm.FindStringSubmatch(geometry)
	if sides == nil {
		return false
	}
	for _, side := range sides[1:] {
		if length, err := strconv.Atoi(side); err != nil || length > maxSide {
			return false
		}
	}
	return true
}

// limit sets the limits, and in the state's how they are written.
func limit(assignment *runtimedir.Assignment, resources models.Resources) error {
	limits := cgroup.Limits{Processes: maxProcesses}
	written := map[string]string{"processes": strconv.Itoa(maxProcesses)}
	var err error
	if resources.Memory != "" {
		written["memory"] = resources.Memory
		if limits.Memory, err = models.ParseMemory(resources.Memory); err != nil {
			return err
		}
	}
	if resources.CPU != "" {
		written["cpu"] = resources.CPU
		if limits.CPU, err = models.ParseCPU(resources.CPU); err != nil {
			return err
		}
	}
	assignment.Limits, assignment.State.Limits = limits, written
	return nil
}

// login makes a user's name one that a system can have (useradd(8): lower case
// letters, digits, _ and -, not beginning with a digit, at most 32). Two users
// may have the same: it is a name for people only.
func login(user string) string {
	var name strings.Builder
	for _, char := range strings.ToLower(user) {
		switch {
		case char >= 'a' && char <= 'z' || char == '_', name.Len() > 0 && (char >= '0' && char <= '9' || char == '-'):
			name.WriteRune(char)
		case char == '@':
			return trimLogin(name.String()) // the domain of an address
		default:
			name.WriteByte('_')
		}
	}
	return trimLogin(name.String())
}

func trimLogin(name string) string {
	name = name[:min(len(name), 30)]
	if name == "" {
		return "user"
	}
	return name
}

// errNotBegun is a supervisor that has ended before it began with the session.
var errNotBegun = errors.New("the supervisor has ended")

// launch makes a runtime. After an error nothing is left of it.
func (d *Driver) launch(ctx context.Context, plan runtimedir.Assignment) (driver.Runtime, error) {
	started, err := d.tryLaunch(ctx, plan)
	if errors.Is(err, errNotBegun) {
		// It had been waiting for a session, and something ended it meanwhile.
		started, err = d.tryLaunch(ctx, plan)
	}
	return started, err
}

func (d *Driver) tryLaunch(ctx context.Context, plan runtimedir.Assignment) (driver.Runtime, error) {
	if d.isolates() {
		started, err := d.launchAs(ctx, plan, true)
		if !errors.Is(err, errNoNamespaces) {
			return started, err
		}
		d.noNamespaces.Store(true)
		d.config.Logger.Warn("sessions share the machine's file system and process numbers, since the system refuses namespaces", "error", err)
	}
	if d.root {
		if err := d.reachable(); err != nil {
			return driver.Runtime{}, err
		}
	}
	return d.launchAs(ctx, plan, false)
}

// isolates tells whether sessions get namespaces of their own.
func (d *Driver) isolates() bool { return d.root && !d.noNamespaces.Load() }

// reachable checks that users other than the agent's can pass to what is
// theirs below the agent's directory.
func (d *Driver) reachable() error {
	for dir := d.sessions; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("look at the agent's directory: %w", err)
		}
		if info.Mode()&0o001 == 0 {
			return &models.Error{Code: models.CodeUnavailable, Message: fmt.Sprintf(
				"sessions of an agent that runs as root are run as users of their own, and those cannot pass %s on their way to %s; "+
					"give the agent the right to make namespaces (CAP_SYS_ADMIN), or choose another directory with --data-dir and let others pass (chmod o+x)",
				dir, d.sessions)}
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

func (d *Driver) launchAs(ctx context.Context, plan runtimedir.Assignment, isolated bool) (_ driver.Runtime, err error) {
	plan.State.Isolated = isolated
	plan.State.StartedAt = d.config.Now().UTC()
	if plan.State.Home != "" {
		release, err := d.freeHome(ctx, plan.State.Home)
		if err != nil {
			return driver.Runtime{}, err
		}
		defer release()
	}
	name := filepath.Base(plan.Dir)
	supervisor, err := d.supervisor(plan)
	if err != nil {
		return driver.Runtime{}, err
	}
	switch {
	case supervisor.begun != nil:
		plan.State.UID = supervisor.begun.State.UID
	case d.root:
		plan.State.UID = d.chooseUser(plan.State.Home)
	}
	d.children.put(name, supervisor)
	defer func() {
		if err == nil {
			return
		}
		if cleanErr := d.undo(ctx, name, supervisor); cleanErr != nil {
			d.config.Logger.Error("a start has failed and something is left of it", "runtime", name, "error", cleanErr)
		}
	}()
	if err := d.makeDir(plan.Dir, supervisor.begun); err != nil {
		return driver.Runtime{}, fmt.Errorf("make the session's directory: %w", err)
	}
	problem, err := supervisor.assign(ctx, plan)
	if ctx.Err() != nil {
		return driver.Runtime{}, ctx.Err()
	}
	if problem != nil {
		return driver.Runtime{}, d.told(name, problem)
	}
	state, readErr := runtimedir.Read(plan.Dir)
	switch {
	case err != nil && readErr == nil && state.SessionID == "":
		return driver.Runtime{}, fmt.Errorf("%w: %w", errNotBegun, err)
	case err != nil:
		return driver.Runtime{}, err
	case readErr != nil:
		return driver.Runtime{}, readErr
	}
	_ = supervisor.starter.Close() // both have said all that they had to say
	return runtime(state, supervisor.process.Pid), nil
}

// makeDir makes a runtime's directory, or makes it of the one in which something
// has begun.
func (d *Driver) makeDir(dir string, begun *runtimedir.Assignment) error {
	if begun == nil {
		return os.Mkdir(dir, d.passable())
	}
	return unix.Renameat2(unix.AT_FDCWD, begun.Dir, unix.AT_FDCWD, dir, unix.RENAME_NOREPLACE)
}

// undo ends what a start that has failed has begun, and leaves nothing of it.
// The caller has the turns of the session and of its home.
func (d *Driver) undo(ctx context.Context, name string, supervisor *child) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWithin)
	defer cancel()
	// From here on the supervisor does not become ready. If it just has, it
	// takes requests, and if it does not take any yet, it never will.
	_ = supervisor.starter.Close()
	ended := d.dismiss(ctx, name, supervisor)
	state, err := runtimedir.Read(d.dir(name))
	d.children.reap(name)
	all := errors.Join(ended, err, d.sweep(ctx, name, state), d.removeFiles(ctx, name, state))
	if supervisor.begun != nil {
		all = errors.Join(all, removeTree(ctx, supervisor.begun.Dir)) // it may not have been renamed
	}
	return all
}

func (d *Driver) dismiss(ctx context.Context, name string, supervisor *child) error {
	alive, err := d.connect(ctx, name)
	if err != nil {
		return errors.Join(err, supervisor.handle.Kill(), supervisor.handle.Wait(ctx))
	}
	if alive != nil {
		defer alive.close()
		return d.endSupervisor(ctx, name, alive)
	}
	patience, cancel := context.WithTimeout(ctx, dismissWithin)
	defer cancel()
	if supervisor.handle.Wait(patience) == nil {
		return nil
	}
	return errors.Join(supervisor.handle.Kill(), supervisor.handle.Wait(ctx))
}

// told makes an error of what a supervisor says.
func (d *Driver) told(name string, problem *runtimedir.Problem) error {
	err := &models.Error{Code: problem.Code, Message: problem.Message, Retryable: problem.Retryable}
	if problem.Detail != "" {
		err.Err = errors.New(problem.Detail)
		d.config.Logger.Warn("a session cannot be started", "runtime", name, "error", problem.Detail)
	}
	if problem.NoNamespaces {
		return fmt.Errorf("%w: %w", errNoNamespaces, err)
	}
	return err
}
