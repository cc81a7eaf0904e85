package kubernetes

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// The names of what is in a pod.
const (
	containerName = "session"
	portName      = "stream"
	volumeHome    = "home"
	volumeShm     = "shm"
)

// readyTries is how often in a row a stream may not be there without the pod
// being taken for broken: as long as nobody ends it.
const readyTries = 1 << 20

// capabilities are those that a container keeps that begins as root: what
// programs need that hand out their files, and go on as another user.
func capabilities() []core.Capability {
	return []core.Capability{"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"}
}

// literal is text that Kubernetes gives to the container as it is: $(NAME) in it
// stands for nothing.
func literal(text string) string { return strings.ReplaceAll(text, "$", "$$") }

// streamPort is the port that a session's stream is on, 0 for a terminal.
func streamPort(spec models.TemplateSpec) int {
	switch {
	case spec.Protocol == models.ProtocolVNC:
		return spec.VNC.ContainerPort()
	case spec.Protocol == models.ProtocolHTTP && spec.HTTP != nil:
		return spec.HTTP.Port
	}
	return 0
}

// describe is the pod that is to be made.
func (d *Driver) describe(spec driver.Spec, owner record) (*core.Pod, error) {
	wanted, box, wishes := spec.Template.Spec, models.ContainerSpec{}, models.KubernetesSpec{}
	if wanted.Container != nil {
		box = *wanted.Container
	}
	if wanted.Kubernetes != nil {
		wishes = *wanted.Kubernetes
	}
	limits, err := json.Marshal(spec.TimeLimits())
	if err != nil {
		return nil, fmt.Errorf("encode time limits: %w", err)
	}
	resources, err := resourcesOf(spec.Resources, wishes)
	if err != nil {
		return nil, err
	}
	volumes, mounts, err := d.volumesOf(spec, box)
	if err != nil {
		return nil, err
	}
	terminal, port := wanted.Protocol == models.ProtocolTerminal, streamPort(wanted)
	container := core.Container{
		Name: containerName, Image: wanted.BaseImage, ImagePullPolicy: pullPolicy(box.PullPolicy), WorkingDir: box.WorkingDir(),
		Env: environment(spec, box), Resources: resources, VolumeMounts: mounts, Stdin: terminal, TTY: terminal,
		SecurityContext: security(box, wishes), TerminationMessagePolicy: core.TerminationMessageFallbackToLogsOnError,
	}
	for _, argument := range box.Command {
		container.Args = append(container.Args, literal(argument))
	}
	annotations := map[string]string{labelAgent: d.config.AgentID, labelSession: spec.SessionID, labelUser: spec.User,
		annotationLimits: string(limits), annotationMemory: spec.Resources.Memory}
	if pages := wanted.HTTP; wanted.Protocol == models.ProtocolHTTP {
		if port == 0 {
			return nil, models.Errorf(models.CodeTemplateInvalid, "the template %q does not say on which port its pages are (spec.http.port)", spec.Template.Metadata.Name)
		}
		annotations[annotationHealth] = spec.Template.HealthPath()
		if pages.TLS {
			annotations[annotationTLS] = "true"
		}
	}
	if port != 0 {
		annotations[annotationPort] = strconv.Itoa(port)
		container.Ports = []core.ContainerPort{{Name: portName, ContainerPort: int32(port)}} //nolint:gosec // validated to be a port
		container.ReadinessProbe = &core.Probe{PeriodSeconds: 1, FailureThreshold: readyTries,
			ProbeHandler: core.ProbeHandler{TCPSocket: &core.TCPSocketAction{Port: intstr.FromString(portName)}}}
	}
	labels := map[string]string{
		labelAgent: value(d.config.AgentID), labelSession: value(spec.SessionID), labelGeneration: strconv.FormatInt(spec.Generation, 10),
		labelUser: value(spec.User), labelTemplate: value(spec.Template.Metadata.Name), labelProtocol: string(wanted.Protocol),
		labelKind: "session", labelPart: "streamspace",
	}
	if spec.PersistentHome {
		labels[labelHome] = d.homeOf(spec)
	}
	grace, no := int64(d.config.StopGrace/time.Second), false
	pod := &core.Pod{
		ObjectMeta: meta.ObjectMeta{Name: d.podName(spec.Ref), Labels: labels, Annotations: annotations, OwnerReferences: owner.owner()},
		Spec: core.PodSpec{
			Containers: []core.Container{container}, Volumes: volumes, RestartPolicy: core.RestartPolicyNever,
			TerminationGracePeriodSeconds: &grace, AutomountServiceAccountToken: &no, EnableServiceLinks: &no,
			SchedulingGates: []core.PodSchedulingGate{{Name: gate}},
			NodeSelector:    wishes.NodeSelector, SecurityContext: podSecurity(wishes),
		},
	}
	for _, one := range wishes.Tolerations {
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, core.Toleration{
			Key: one.Key, Operator: core.TolerationOperator(one.Operator), Value: one.Value, Effect: core.TaintEffect(one.Effect)})
	}
	if wishes.RuntimeClassName != "" {
		pod.Spec.RuntimeClassName = &wishes.RuntimeClassName
	}
	for _, secret := range wishes.ImagePullSecrets {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, core.LocalObjectReference{Name: secret})
	}
	return pod, nil
}

func pullPolicy(policy models.PullPolicy) core.PullPolicy {
	switch policy {
	case models.PullAlways:
		return core.PullAlways
	case models.PullNever:
		return core.PullNever
	}
	return core.PullIfNotPresent
}

// environment is the container's, with each variable once.
func environment(spec driver.Spec, box models.ContainerSpec) (all []core.EnvVar) {
	values := []models.EnvVar{{Name: "HOME", Value: box.HomePath()}, {Name: "STREAMSPACE_SESSION", Value: spec.SessionID}}
	if spec.Template.Spec.Protocol == models.ProtocolTerminal {
		values = append(values, models.EnvVar{Name: "TERM", Value: "xterm-256color"})
	}
	at := map[string]int{}
	for _, one := range append(values, spec.Template.Spec.Env...) {
		variable := core.EnvVar{Name: one.Name, Value: literal(one.Value)}
		if i, twice := at[one.Name]; twice {
			all[i] = variable
			continue
		}
		at[one.Name] = len(all)
		all = append(all, variable)
	}
	return all
}

// resourcesOf asks for what the session is limited to, so that it gets it.
func resourcesOf(wanted models.Resources, wishes models.KubernetesSpec) (core.ResourceRequirements, error) {
	limits := core.ResourceList{}
	if wanted.CPU != "" {
		milli, err := models.ParseCPU(wanted.CPU)
		if err != nil {
			return core.ResourceRequirements{}, err
		}
		limits[core.ResourceCPU] = *resource.NewMilliQuantity(milli, resource.DecimalSI)
	}
	if wanted.Memory != "" {
		bytes, err := models.ParseMemory(wanted.Memory)
		if err != nil {
			return core.ResourceRequirements{}, err
		}
		limits[core.ResourceMemory] = *resource.NewQuantity(bytes, resource.BinarySI)
	}
	if wanted.GPUs > 0 {
		limits[core.ResourceName(wishes.GPUs())] = *resource.NewQuantity(wanted.GPUs, resource.DecimalSI)
	}
	return core.ResourceRequirements{Limits: limits, Requests: limits.DeepCopy()}, nil
}

// volumesOf gives the container its home, and where it may write besides.
func (d *Driver) volumesOf(spec driver.Spec, box models.ContainerSpec) (volumes []core.Volume, mounts []core.VolumeMount, err error) {
	add := func(name, at string, source core.VolumeSource) {
		volumes = append(volumes, core.Volume{Name: name, VolumeSource: source})
		mounts = append(mounts, core.VolumeMount{Name: name, MountPath: at})
	}
	empty := core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}
	home := empty
	if spec.PersistentHome {
		home = core.VolumeSource{PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: d.homeOf(spec)}}
	}
	add(volumeHome, box.HomePath(), home)
	if box.ReadOnlyRoot {
		add("tmp", "/tmp", empty)
		add("run", "/run", empty)
	}
	if box.ShmSize != "" {
		bytes, err := models.ParseMemory(box.ShmSize)
		if err != nil {
			return nil, nil, err
		}
		add(volumeShm, "/dev/shm", core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{Medium: core.StorageMediumMemory, SizeLimit: resource.NewQuantity(bytes, resource.BinarySI)}})
	}
	return volumes, mounts, nil
}

// security is what the container may do: by default what the restricted standard
// lets it.
func security(box models.ContainerSpec, wishes models.KubernetesSpec) *core.SecurityContext {
	no, readOnly := false, box.ReadOnlyRoot
	context := &core.SecurityContext{AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &readOnly,
		Capabilities: &core.Capabilities{Drop: []core.Capability{"ALL"}}}
	if wishes.RunAsRoot {
		context.Capabilities.Add = capabilities()
	}
	return context
}

// podSecurity is whom the container runs as, and whose its home is.
func podSecurity(wishes models.KubernetesSpec) *core.PodSecurityContext {
	user, yes, whenOther := wishes.User(), true, core.FSGroupChangeOnRootMismatch
	context := &core.PodSecurityContext{FSGroup: &user, FSGroupChangePolicy: &whenOther,
		SeccompProfile: &core.SeccompProfile{Type: core.SeccompProfileTypeRuntimeDefault}}
	if !wishes.RunAsRoot {
		context.RunAsNonRoot, context.RunAsUser, context.RunAsGroup = &yes, &user, &user
	}
	return context
}
