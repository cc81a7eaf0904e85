package catalog

import (
	"errors"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/streamspace/streamspace/models"
)

// What the first two lines of every template say.
const (
	apiVersion = "streamspace.io/v1"
	kind       = "Template"
)

const (
	// maxDisplayName is what a session's name may have, in characters; a session
	// is named after its template unless its owner says otherwise.
	maxDisplayName = 100
	maxDescription = 500
)

// The least and largest screen, in pixels. What is smaller cannot be worked
// with; 8192 has room for 7680x4320, the largest that is sold.
const (
	minSide = 200
	maxSide = 8192
)

// maxPort is the largest TCP port.
const maxPort = 65535

// What fields may hold besides nothing.
var (
	icons        = []string{"desktop", "browser", "terminal", "app"}
	protocols    = []models.Protocol{models.ProtocolVNC, models.ProtocolTerminal, models.ProtocolHTTP}
	platforms    = []string{models.PlatformProcess, models.PlatformDocker, models.PlatformKubernetes}
	transports   = []string{"TCP", "UDP"}
	onLimits     = []models.OnLimit{models.OnLimitStop, models.OnLimitHibernate}
	onLosses     = []models.OnLost{models.OnLostRestart, models.OnLostRecreate, models.OnLostFail}
	pullPolicies = []models.PullPolicy{models.PullMissing, models.PullAlways, models.PullNever}
)

var (
	templateNames = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	portNames     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	variables     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	commands      = regexp.MustCompile(`^[A-Za-z0-9/._+-]{1,255}$`)
	sizes         = regexp.MustCompile(`^([0-9]{1,5})x([0-9]{1,5})$`)
)

// check notes everything that is wrong with a template that was read.
func (r *reader) check(template models.Template) {
	if template.APIVersion != apiVersion {
		r.wrong("apiVersion", "must be %s, not %q", apiVersion, template.APIVersion)
	}
	if template.Kind != kind {
		r.wrong("kind", "must be %s, not %q", kind, template.Kind)
	}
	if name := template.Metadata.Name; !templateNames.MatchString(name) {
		r.wrong("metadata.name", "must be lower case letters, digits and dashes, at most 63, and not begin with a dash; it is %q", name)
	}
	spec := template.Spec
	r.text("spec.displayName", spec.DisplayName, maxDisplayName)
	if spec.DisplayName == "" {
		r.wrong("spec.displayName", "is missing; people see it")
	}
	r.text("spec.description", spec.Description, maxDescription)
	oneOfOrNone(r, "spec.icon", spec.Icon, icons)
	oneOfOrNone(r, "spec.onLost", spec.OnLost, onLosses)
	r.resources(spec.DefaultResources)
	r.timeLimits(spec)
	r.environment(spec.Env)
	r.ports(spec.Ports)
	r.stream(spec)
	r.platforms(spec)
	if spec.Process != nil {
		r.process(*spec.Process, spec.Protocol)
	}
	if spec.Container != nil {
		r.container(*spec.Container)
	}
	if spec.Kubernetes != nil {
		r.kubernetes(*spec.Kubernetes)
	}
}

func (r *reader) container(container models.ContainerSpec) {
	for i, argument := range container.Command {
		r.withoutNUL(item("spec.container.command", i), argument)
	}
	if home := container.Home; home != "" && (!path.IsAbs(home) || path.Clean(home) != home || home == "/" || strings.ContainsFunc(home, unicode.IsControl)) {
		r.wrong("spec.container.home", "must be the absolute path of a directory, such as %s; it is %q", models.DefaultContainerHome, home)
	}
	if container.ShmSize != "" {
		var coded *models.Error
		if _, err := models.ParseMemory(container.ShmSize); errors.As(err, &coded) {
			r.wrong("spec.container.shmSize", "is wrong: %s", coded.Message)
		}
	}
	oneOfOrNone(r, "spec.container.pullPolicy", container.PullPolicy, pullPolicies)
}

// text checks a line that people read.
func (r *reader) text(field, text string, limit int) {
	if utf8.RuneCountInString(text) > limit || strings.ContainsFunc(text, unicode.IsControl) {
		r.wrong(field, "must be one line of at most %d characters", limit)
	}
}

// oneOfOrNone admits an empty value as well.
func oneOfOrNone[T ~string](r *reader, field string, value T, allowed []T) {
	if value != "" {
		oneOf(r, field, value, allowed)
	}
}

func oneOf[T ~string](r *reader, field string, value T, allowed []T) {
	if slices.Contains(allowed, value) {
		return
	}
	names := make([]string, 0, len(allowed))
	for _, one := range allowed {
		names = append(names, string(one))
	}
	if value == "" {
		r.wrong(field, "is missing; it is one of %s", strings.Join(names, ", "))
		return
	}
	r.wrong(field, "must be one of %s, not %q", strings.Join(names, ", "), value)
}

func (r *reader) resources(defaults models.Resources) {
	for _, part := range []struct {
		field    string
		quantity models.Resources
	}{
		{"spec.defaultResources.cpu", models.Resources{CPU: defaults.CPU}},
		{"spec.defaultResources.memory", models.Resources{Memory: defaults.Memory}},
		{"spec.defaultResources.gpus", models.Resources{GPUs: defaults.GPUs}},
	} {
		var coded *models.Error
		if err := part.quantity.Validate(); errors.As(err, &coded) {
			r.wrong(part.field, "is wrong: %s", coded.Message)
		}
	}
}

func (r *reader) timeLimits(spec models.TemplateSpec) {
	for field, limit := range map[string]string{"idleTimeout": spec.IdleTimeout, "maxDuration": spec.MaxDuration} {
		var coded *models.Error
		if _, err := models.ParseTimeLimit("it", limit); errors.As(err, &coded) {
			r.wrong("spec."+field, "is wrong: %s", coded.Message)
		}
	}
	oneOfOrNone(r, "spec.onLimit", spec.OnLimit, onLimits)
	if spec.OnLimit == models.OnLimitHibernate && !spec.PersistentHome {
		r.wrong("spec.onLimit", "must not be hibernate unless spec.persistentHome is true, since nothing would be left of the session")
	}
}

func (r *reader) environment(environment []models.EnvVar) {
	seen := map[string]bool{}
	for i, variable := range environment {
		field := item("spec.env", i)
		switch {
		case !variables.MatchString(variable.Name):
			r.wrong(field+".name", "must be letters, digits and underscores, and not begin with a digit; it is %q", variable.Name)
		case seen[variable.Name]:
			r.wrong(field+".name", "is %q a second time", variable.Name)
		}
		seen[variable.Name] = true
		r.withoutNUL(field+".value", variable.Value)
	}
}

// withoutNUL refuses what no process can be given.
func (r *reader) withoutNUL(field, value string) {
	if strings.ContainsRune(value, 0) {
		r.wrong(field, "must not hold the character NUL")
	}
}

func (r *reader) ports(ports []models.Port) {
	seen := map[string]bool{}
	for i, port := range ports {
		field := item("spec.ports", i)
		switch {
		case !portNames.MatchString(port.Name):
			r.wrong(field+".name", "must be lower case letters, digits and dashes, at most 63; it is %q", port.Name)
		case seen[port.Name]:
			r.wrong(field+".name", "is %q a second time", port.Name)
		}
		seen[port.Name] = true
		if port.ContainerPort < 1 || port.ContainerPort > maxPort {
			r.wrong(field+".containerPort", "must be 1 to 65535, not %d", port.ContainerPort)
		}
		oneOfOrNone(r, field+".protocol", port.Protocol, transports)
	}
}

// stream checks what the session shows itself by.
func (r *reader) stream(spec models.TemplateSpec) {
	oneOf(r, "spec.protocol", spec.Protocol, protocols)
	switch isVNC := spec.Protocol == models.ProtocolVNC; {
	case isVNC && !spec.VNC.Enabled:
		r.wrong("spec.vnc.enabled", "must be true, as spec.protocol is vnc")
	case !isVNC && spec.VNC.Enabled:
		r.wrong("spec.vnc.enabled", "must not be true, as spec.protocol is %s", spec.Protocol)
	}
	if port := spec.VNC.Port; port < 0 || port > maxPort {
		r.wrong("spec.vnc.port", "must be 1 to 65535, not %d", port)
	}
	switch isHTTP := spec.Protocol == models.ProtocolHTTP; {
	case isHTTP && spec.HTTP == nil:
		r.wrong("spec.http", "is missing, as spec.protocol is http")
	case isHTTP:
		r.http(spec)
	case spec.HTTP != nil:
		r.wrong("spec.http", "is for protocol http, and spec.protocol is %s", spec.Protocol)
	}
}

// platforms checks that the template has what each of its platforms runs.
func (r *reader) platforms(spec models.TemplateSpec) {
	for i, platform := range spec.Platforms {
		field := item("spec.platforms", i)
		oneOf(r, field, platform, platforms)
		if slices.Index(spec.Platforms, platform) < i {
			r.wrong(field, "is %q a second time", platform)
		}
	}
	template := models.Template{Spec: spec}
	why := "as it can run on platform "
	if len(spec.Platforms) == 0 {
		why = "as spec.platforms is empty, which means every platform, also "
	}
	if template.RunsOn(models.PlatformProcess) && spec.Process == nil {
		r.wrong("spec.process", "is missing, %s%s", why, models.PlatformProcess)
	}
	for _, platform := range []string{models.PlatformDocker, models.PlatformKubernetes} {
		if template.RunsOn(platform) && spec.BaseImage == "" {
			r.wrong("spec.baseImage", "is missing, %s%s", why, platform)
			break
		}
	}
	if strings.ContainsFunc(spec.BaseImage, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }) {
		r.wrong("spec.baseImage", "must be the name of an image, without spaces; it is %q", spec.BaseImage)
	}
}

func (r *reader) process(process models.ProcessSpec, protocol models.Protocol) {
	if len(process.Command) == 0 || process.Command[0] == "" {
		r.wrong("spec.process.command", "must name a program")
	}
	for i, argument := range process.Command {
		r.withoutNUL(item("spec.process.command", i), argument)
	}
	r.geometry(process.Geometry, protocol)
	seen := map[string]bool{}
	for i, need := range process.Needs {
		field := item("spec.process.needs", i)
		switch {
		case !commands.MatchString(need.Command):
			r.wrong(field+".command", "must be the name of one command, without arguments; it is %q", need.Command)
		case seen[need.Command]:
			r.wrong(field+".command", "is %q a second time", need.Command)
		}
		seen[need.Command] = true
		r.text(field+".install", need.Install, maxDescription)
	}
}

func (r *reader) geometry(geometry string, protocol models.Protocol) {
	const field = "spec.process.geometry"
	if geometry == "" {
		return
	}
	if protocol != models.ProtocolVNC {
		r.wrong(field, "is for screens, and spec.protocol is %s", protocol)
		return
	}
	sides := sizes.FindStringSubmatch(geometry)
	if sides == nil {
		r.wrong(field, "must be like 1280x800, not %q", geometry)
		return
	}
	for _, side := range sides[1:] {
		// Up to five digits always parse.
		if pixels, _ := strconv.Atoi(side); pixels < minSide || pixels > maxSide {
			r.wrong(field, "must have sides of %d to %d, not %q", minSide, maxSide, geometry)
			return
		}
	}
}

func item(field string, index int) string { return field + "[" + strconv.Itoa(index) + "]" }
