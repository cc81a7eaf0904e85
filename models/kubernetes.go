package models

// The defaults of a pod.
const (
	// DefaultPodUser is whom a container runs as. Most images for desktops and
	// browsers are made for it.
	DefaultPodUser = 1000
	// DefaultGPUResource is what a pod asks for when its session has GPUs.
	DefaultGPUResource = "nvidia.com/gpu"
)

// KubernetesSpec is what a session's pod has besides its container, in the words
// of Kubernetes.
type KubernetesSpec struct {
	// NodeSelector and Tolerations say on which nodes the pod may be.
	NodeSelector map[string]string `json:"nodeSelector,omitempty" yaml:"nodeSelector"`
	Tolerations  []Toleration      `json:"tolerations,omitempty" yaml:"tolerations"`
	// RuntimeClassName is another container runtime, such as gvisor.
	RuntimeClassName string `json:"runtimeClassName,omitempty" yaml:"runtimeClassName"`
	// ImagePullSecrets name secrets of the namespace.
	ImagePullSecrets []string `json:"imagePullSecrets,omitempty" yaml:"imagePullSecrets"`
	// GPUResource is what GPUs are called there; DefaultGPUResource.
	GPUResource string `json:"gpuResource,omitempty" yaml:"gpuResource"`
	// HomeSize is how much a persistent home holds, e.g. 20Gi; the agent's own
	// default when empty. Only a home that is made anew has it.
	HomeSize string `json:"homeSize,omitempty" yaml:"homeSize"`
	// RunAsUser is the user id that the container runs as; DefaultPodUser when 0.
	RunAsUser int64 `json:"runAsUser,omitempty" yaml:"runAsUser"`
	// RunAsRoot has the container begin as the image says, root most likely, with
	// the capabilities to hand out its files and go on as another user. A namespace
	// that enforces the restricted standard does not take such a pod.
	RunAsRoot bool `json:"runAsRoot,omitempty" yaml:"runAsRoot"`
}

// Toleration lets a pod be on nodes with a taint.
type Toleration struct {
	Key string `json:"key,omitempty" yaml:"key"`
	// Operator is Equal, which an empty one is, or Exists.
	Operator string `json:"operator,omitempty" yaml:"operator"`
	Value    string `json:"value,omitempty" yaml:"value"`
	// Effect is NoSchedule, PreferNoSchedule or NoExecute; empty means all.
	Effect string `json:"effect,omitempty" yaml:"effect"`
}

// User is RunAsUser or its default.
func (k KubernetesSpec) User() int64 {
	if k.RunAsUser == 0 {
		return DefaultPodUser
	}
	return k.RunAsUser
}

// GPUs is GPUResource or its default.
func (k KubernetesSpec) GPUs() string {
	if k.GPUResource == "" {
		return DefaultGPUResource
	}
	return k.GPUResource
}
