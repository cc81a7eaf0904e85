package catalog

import (
	"errors"
	"regexp"

	"github.com/streamspace/streamspace/models"
)

var (
	// objectNames are those of Kubernetes' objects.
	objectNames = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
	// labelKeys are its labels' and taints' keys, devices those of devices, and
	// labelValues may be empty.
	labelKeys   = regexp.MustCompile(`^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	devices     = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	labelValues = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$`)
)

// What a toleration may say.
var (
	operators = []string{"Equal", "Exists"}
	effects   = []string{"NoSchedule", "PreferNoSchedule", "NoExecute"}
)

// maxUser is the largest user id.
const maxUser = 1<<31 - 1

// kubernetes checks what a session's pod has besides its container.
func (r *reader) kubernetes(wishes models.KubernetesSpec) {
	const field = "spec.kubernetes"
	for key, label := range wishes.NodeSelector {
		if !labelKeys.MatchString(key) || !labelValues.MatchString(label) {
			r.wrong(field+".nodeSelector", "must be labels of nodes, such as kubernetes.io/arch: amd64; one is %q: %q", key, label)
		}
	}
	for i, one := range wishes.Tolerations {
		at := item(field+".tolerations", i)
		oneOfOrNone(r, at+".operator", one.Operator, operators)
		oneOfOrNone(r, at+".effect", one.Effect, effects)
		switch {
		case one.Key != "" && !labelKeys.MatchString(one.Key):
			r.wrong(at+".key", "must be the key of a taint; it is %q", one.Key)
		case one.Key == "" && one.Operator != "Exists":
			r.wrong(at+".key", "is missing; without one, operator must be Exists")
		}
		if !labelValues.MatchString(one.Value) || one.Operator == "Exists" && one.Value != "" {
			r.wrong(at+".value", "must be the value of a taint, and empty if operator is Exists; it is %q", one.Value)
		}
	}
	if name := wishes.RuntimeClassName; name != "" && !objectNames.MatchString(name) {
		r.wrong(field+".runtimeClassName", "must be the name of a runtime class; it is %q", name)
	}
	for i, name := range wishes.ImagePullSecrets {
		if !objectNames.MatchString(name) {
			r.wrong(item(field+".imagePullSecrets", i), "must be the name of a secret; it is %q", name)
		}
	}
	if name := wishes.GPUResource; name != "" && !devices.MatchString(name) {
		r.wrong(field+".gpuResource", "must be like %s; it is %q", models.DefaultGPUResource, name)
	}
	if wishes.HomeSize != "" {
		var coded *models.Error
		if _, err := models.ParseMemory(wishes.HomeSize); errors.As(err, &coded) {
			r.wrong(field+".homeSize", "is wrong: %s", coded.Message)
		}
	}
	switch user := wishes.RunAsUser; {
	case user < 0 || user > maxUser:
		r.wrong(field+".runAsUser", "must be 1 to %d, or 0 for %d; it is %d", maxUser, models.DefaultPodUser, user)
	case user != 0 && wishes.RunAsRoot:
		r.wrong(field+".runAsUser", "must be left out where runAsRoot is true")
	}
}
