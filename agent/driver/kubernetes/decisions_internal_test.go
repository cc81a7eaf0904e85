package kubernetes

import (
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// Whatever things are called: what is made for them has a name and labels that
// Kubernetes takes, and that nothing else has.
func TestNamesProperty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		texts := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-zA-Z0-9._-]{0,128}`))
		one, other := texts.Draw(r, "one"), texts.Draw(r, "other")
		d := &Driver{config: Config{AgentID: "a"}}
		names := map[string]string{}
		for _, text := range []string{one, other} {
			if wrong := validation.IsValidLabelValue(value(text)); len(wrong) > 0 {
				r.Errorf("the label of %q is %q: %v", text, value(text), wrong)
			}
			pod := d.podName(driver.Ref{SessionID: text, Generation: rapid.Int64Range(0, 1<<62).Draw(r, "generation")})
			if wrong := validation.IsDNS1123Subdomain(pod); len(wrong) > 0 {
				r.Errorf("the pod of %q is %q: %v", text, pod, wrong)
			}
			names[text] = value(text) + " " + d.recordName(text)
		}
		if one != other && names[one] == names[other] {
			r.Errorf("%q and %q are both %s", one, other, names[one])
		}
	})
}

// A record admits no generation that is over, none below the one that runs, and
// any later one.
func TestAdmitsProperty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		some := rapid.Int64Range(0, 9)
		noted := record{running: some.Draw(r, "running"), over: some.Draw(r, "over")}
		generation := rapid.Int64Range(1, 9).Draw(r, "generation")
		admitted := noted.admits(generation) == nil
		if want := generation > noted.over && generation >= noted.running; admitted != want {
			r.Errorf("%+v admits %d: %v", noted, generation, admitted)
		}
		if err := noted.admits(0); err != nil {
			r.Errorf("without generations a session is refused: %v", err)
		}
	})
}

func TestOverlap(t *testing.T) {
	for _, test := range []struct {
		before, next string
		want         int
	}{
		{"", "new", 0}, {"one\ntwo\n", "three", 0}, {"one\ntwo\n", "two\nthree", 4}, {"one\n", "one\n", 4}, {"aab", "abb", 2},
	} {
		if got := overlap([]byte(test.before), []byte(test.next)); got != test.want {
			t.Errorf("%q begins with %d of %q, not %d", test.next, got, test.before, test.want)
		}
	}
}

// pod is one of a terminal with its container in a state.
func pod(state core.ContainerState, change func(*core.Pod)) *core.Pod {
	made := &core.Pod{ObjectMeta: meta.ObjectMeta{Labels: map[string]string{labelProtocol: string(models.ProtocolTerminal)}, Annotations: map[string]string{annotationMemory: "64Mi"}},
		Spec:   core.PodSpec{NodeName: "node", Containers: []core.Container{{Name: containerName, Image: "image:1"}}},
		Status: core.PodStatus{ContainerStatuses: []core.ContainerStatus{{Name: containerName, State: state}}}}
	if change != nil {
		change(made)
	}
	return made
}

func waitingFor(reason, message string) core.ContainerState {
	return core.ContainerState{Waiting: &core.ContainerStateWaiting{Reason: reason, Message: message}}
}

func TestLook(t *testing.T) {
	running := core.ContainerState{Running: &core.ContainerStateRunning{}}
	withPort := func(p *core.Pod) { p.Annotations[annotationPort] = "5900" }
	mount := []*core.Event{{Reason: "FailedMount", Message: "no such disk"}}
	for name, test := range map[string]struct {
		pod      *core.Pod
		warnings []*core.Event
		stage    stage
		waits    models.ErrorCode
		fails    models.ErrorCode
	}{
		"a terminal runs":           {pod: pod(running, nil), stage: stageReady},
		"a port is not ready":       {pod: pod(running, withPort), stage: stageRunning},
		"an image is pulled":        {pod: pod(waitingFor("ContainerCreating", ""), nil), stage: stagePlaced},
		"a registry does not work":  {pod: pod(waitingFor("ErrImagePull", "dial tcp: i/o timeout"), nil), stage: stagePlaced, waits: models.CodeUnavailable},
		"there is no such image":    {pod: pod(waitingFor("ImagePullBackOff", "manifest unknown"), nil), fails: models.CodeImageMissing},
		"an image is denied":        {pod: pod(waitingFor("ErrImagePull", "pull access denied"), nil), fails: models.CodeImageDenied},
		"an image runs as root":     {pod: pod(waitingFor("CreateContainerConfigError", "container has runAsNonRoot and image will run as root"), nil), fails: models.CodeTemplateInvalid},
		"a secret is not there":     {pod: pod(waitingFor("CreateContainerConfigError", "secret not found"), nil), fails: models.CodeCommandFailed},
		"a volume is not mounted":   {pod: pod(waitingFor("ContainerCreating", ""), nil), warnings: mount, stage: stageUnplaced, waits: models.CodeVolumeFailed},
		"there is no node":          {pod: pod(core.ContainerState{}, unschedulable("0/1 nodes")), stage: stageUnplaced, waits: models.CodeUnschedulable},
		"there is no volume":        {pod: pod(core.ContainerState{}, unschedulable("unbound immediate PersistentVolumeClaims")), stage: stageUnplaced, waits: models.CodeVolumeFailed},
		"nobody has looked for one": {pod: pod(core.ContainerState{}, func(p *core.Pod) { p.Spec.NodeName = "" }), stage: stageUnplaced},
		"somebody removes it":       {pod: pod(core.ContainerState{}, func(p *core.Pod) { p.DeletionTimestamp = &meta.Time{Time: time.Now()} }), fails: models.CodeRuntimeLost},
		"a screen ends at once":     {pod: pod(terminated(1, "Error", ""), func(p *core.Pod) { p.Labels[labelProtocol] = string(models.ProtocolVNC) }), fails: models.CodeCommandFailed},
		"a terminal ends at once":   {pod: pod(terminated(1, "Error", ""), nil), stage: stageReady},
		"a program is not there":    {pod: pod(terminated(128, "StartError", "no such file"), nil), fails: models.CodeCommandFailed},
	} {
		got := look(test.pod, test.warnings)
		waits := models.ErrorCode("")
		if got.waitsFor != nil {
			waits = got.waitsFor.Code
		}
		if got.stage != test.stage || waits != test.waits || models.CodeOf(got.failure) != test.fails {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func unschedulable(message string) func(*core.Pod) {
	return func(p *core.Pod) {
		p.Spec.NodeName = ""
		p.Status.Conditions = []core.PodCondition{{Type: core.PodScheduled, Status: core.ConditionFalse, Reason: core.PodReasonUnschedulable, Message: message}}
	}
}

func terminated(status int32, reason, message string) core.ContainerState {
	return core.ContainerState{Terminated: &core.ContainerStateTerminated{ExitCode: status, Reason: reason, Message: message,
		StartedAt: meta.Now(), FinishedAt: meta.Now()}}
}

func TestExitOf(t *testing.T) {
	grace := int64(5)
	removed := func(after time.Duration) func(*core.Pod) {
		return func(p *core.Pod) {
			at := meta.NewTime(time.Now().Add(after + time.Duration(grace)*time.Second))
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &grace
		}
	}
	for name, test := range map[string]struct {
		pod         *core.Pod
		clean, lost bool
		reason      string
	}{
		"it ends well":             {pod(terminated(0, "Completed", ""), nil), true, false, "exit status 0"},
		"it ends badly":            {pod(terminated(3, "Error", "one\nall is lost\n"), nil), false, false, "exit status 3: all is lost"},
		"it is killed":             {pod(terminated(137, "Error", ""), nil), false, false, "signal 9"},
		"it is out of memory":      {pod(terminated(137, "OOMKilled", ""), nil), false, false, "its limit is 64Mi"},
		"its node is drained":      {pod(terminated(0, "Completed", ""), disrupted), false, true, "drained"},
		"it is removed":            {pod(terminated(143, "Error", ""), removed(-time.Minute)), false, true, "removed"},
		"it is removed afterwards": {pod(terminated(0, "Completed", ""), removed(time.Minute)), true, false, "exit status 0"},
	} {
		got := exitOf(test.pod)
		if got.Clean != test.clean || got.Lost != test.lost || !strings.Contains(got.Reason, test.reason) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func disrupted(p *core.Pod) {
	p.Status.Conditions = []core.PodCondition{{Type: core.DisruptionTarget, Status: core.ConditionTrue, Message: "the node is drained"}}
}
