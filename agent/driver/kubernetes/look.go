package kubernetes

import (
	"fmt"
	"strings"
	"time"

	core "k8s.io/api/core/v1"

	"github.com/streamspace/streamspace/models"
)

// stage is how far a pod is.
type stage int

const (
	// stageUnplaced has no node, or its volumes are not there.
	stageUnplaced stage = iota
	// stagePlaced has its container made, which may need an image first.
	stagePlaced
	stageRunning
	// stageReady has a stream.
	stageReady
)

// sight is what a pod looks like while it comes up.
type sight struct {
	stage stage
	// failure is why it never will.
	failure error
	// waitsFor is what keeps it from going on, if that is known: it may pass.
	waitsFor *models.Error
}

// words say what a pod waits for.
func (s sight) words(pod *core.Pod) string {
	switch {
	case s.waitsFor != nil:
		return s.waitsFor.Message
	case s.stage == stageUnplaced:
		return "finding a node"
	case s.stage == stagePlaced:
		return "getting the image " + pod.Spec.Containers[0].Image + " and making the container"
	}
	return "waiting for the session's stream"
}

// overdue is the error of a pod that has had no node or volume for too long.
func (s sight) overdue(waited time.Duration) error {
	if s.waitsFor == nil {
		return &models.Error{Code: models.CodeUnschedulable, Retryable: true,
			Message: fmt.Sprintf("the cluster did not place the session's pod within %s, and does not say why", waited)}
	}
	return s.waitsFor
}

// look says how far a pod is, given its warnings. It knows nothing else.
func look(pod *core.Pod, warnings []*core.Event) sight {
	state := stateOf(pod)
	switch {
	case state.Terminated != nil && state.Terminated.Reason == "StartError":
		return sight{failure: models.Errorf(models.CodeCommandFailed, "the session's container could not be started: %s", lastLine(state.Terminated.Message))}
	case ended(pod) && pod.Labels[labelProtocol] == string(models.ProtocolTerminal) && state.Terminated != nil:
		return sight{stage: stageReady} // it ran, and how it ended is told
	case ended(pod):
		return sight{failure: models.Errorf(models.CodeCommandFailed, "%s before its stream was there", exitOf(pod).Reason)}
	case pod.DeletionTimestamp != nil:
		return sight{failure: &models.Error{Code: models.CodeRuntimeLost, Retryable: true, Message: "the session's pod was removed while it was started"}}
	case state.Running != nil && (pod.Annotations[annotationPort] == "" || !pages(pod) && condition(pod, core.PodReady).Status == core.ConditionTrue):
		return sight{stage: stageReady}
	case state.Running != nil:
		return sight{stage: stageRunning}
	case pod.Spec.NodeName == "":
		return sight{stage: stageUnplaced, waitsFor: unplaced(pod)}
	}
	if state.Waiting != nil {
		if failure, passes := waiting(pod, *state.Waiting); failure != nil {
			if passes {
				return sight{stage: stagePlaced, waitsFor: failure}
			}
			return sight{failure: failure}
		}
	}
	return mounting(warnings)
}

// unplaced says why a pod has no node.
func unplaced(pod *core.Pod) *models.Error {
	scheduled := condition(pod, core.PodScheduled)
	if scheduled.Status != core.ConditionFalse || scheduled.Reason != core.PodReasonUnschedulable {
		return nil
	}
	if words := strings.ToLower(scheduled.Message); strings.Contains(words, "persistentvolumeclaim") || strings.Contains(words, "volume node affinity") {
		return &models.Error{Code: models.CodeVolumeFailed, Retryable: true, Message: "the session's home cannot be provided: " + scheduled.Message}
	}
	return &models.Error{Code: models.CodeUnschedulable, Retryable: true, Message: "no node takes the session: " + scheduled.Message}
}

// waiting says what keeps a container from being there; passes tells that it may
// yet come. Nil is nothing worth telling.
func waiting(pod *core.Pod, state core.ContainerStateWaiting) (failure *models.Error, passes bool) {
	image := pod.Spec.Containers[0].Image
	switch state.Reason {
	case "InvalidImageName":
		return models.Errorf(models.CodeImageMissing, "%q is not the name of an image", image), false
	case "ErrImageNeverPull":
		return models.Errorf(models.CodeImageMissing, "the image %q is not on the node, and the template says that it is not pulled", image), false
	case "ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError", "SignatureValidationFailed":
		return pullFailure(image, state.Message)
	case "CreateContainerConfigError":
		if strings.Contains(state.Message, "runAsNonRoot") {
			return models.Errorf(models.CodeTemplateInvalid, "the image %q runs as root: set spec.kubernetes.runAsUser, or runAsRoot: %s", image, state.Message), false
		}
		return models.Errorf(models.CodeCommandFailed, "the session's container cannot be made: %s", state.Message), false
	case "CreateContainerError", "RunContainerError", "PreCreateHookError", "PreStartHookError", "PostStartHookError":
		return models.Errorf(models.CodeCommandFailed, "the session's container cannot be made: %s", state.Message), false
	}
	return nil, false
}

// pullFailure says why an image cannot be pulled: some causes lie in what was
// asked for, and pass nowhere.
func pullFailure(image, message string) (failure *models.Error, passes bool) {
	words := strings.ToLower(message)
	for _, cause := range []struct {
		words []string
		code  models.ErrorCode
	}{
		{[]string{"denied", "unauthorized", "no basic auth credentials", "401", "403"}, models.CodeImageDenied},
		{[]string{"not found", "manifest unknown", "does not exist", "invalid reference format"}, models.CodeImageMissing},
	} {
		for _, word := range cause.words {
			if strings.Contains(words, word) {
				return models.Errorf(cause.code, "the image %s cannot be pulled: %s", image, message), false
			}
		}
	}
	return &models.Error{Code: models.CodeUnavailable, Retryable: true, Message: fmt.Sprintf("the image %s cannot be pulled: %s", image, message)}, true
}

// mounting says of a pod that has a node whether its volumes are there, as far as
// warnings tell.
func mounting(warnings []*core.Event) sight {
	var latest *core.Event
	for _, event := range warnings {
		switch event.Reason {
		case "FailedMount", "FailedAttachVolume", "FailedMapVolume", "VolumeFailedDelete", "FailedCreatePodSandBox":
			if latest == nil || event.LastTimestamp.After(latest.LastTimestamp.Time) {
				latest = event
			}
		}
	}
	switch {
	case latest == nil:
		return sight{stage: stagePlaced}
	case latest.Reason == "FailedCreatePodSandBox":
		return sight{stage: stageUnplaced, waitsFor: &models.Error{Code: models.CodeUnavailable, Retryable: true, Message: "the node cannot make the session's pod: " + latest.Message}}
	}
	return sight{stage: stageUnplaced, waitsFor: &models.Error{Code: models.CodeVolumeFailed, Retryable: true, Message: "the session's home cannot be mounted: " + latest.Message}}
}

// stateOf is the state of a pod's one container; empty while there is none.
func stateOf(pod *core.Pod) core.ContainerState {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == containerName {
			return status.State
		}
	}
	return core.ContainerState{}
}

func condition(pod *core.Pod, of core.PodConditionType) core.PodCondition {
	for _, one := range pod.Status.Conditions {
		if one.Type == of {
			return one
		}
	}
	return core.PodCondition{}
}

// pages tells that a session shows pages, which have to be asked whether they are
// ready.
func pages(pod *core.Pod) bool { return pod.Annotations[annotationHealth] != "" }

func gated(pod *core.Pod) bool { return len(pod.Spec.SchedulingGates) > 0 }

// ended tells that a pod's container runs no more and never will again.
func ended(pod *core.Pod) bool {
	return pod.Status.Phase == core.PodSucceeded || pod.Status.Phase == core.PodFailed || stateOf(pod).Terminated != nil
}
