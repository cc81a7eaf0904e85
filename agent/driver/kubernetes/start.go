package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/health"
	"github.com/streamspace/streamspace/models"
)

// dialEvery is how often a session's port is tried while it comes up.
const dialEvery = 50 * time.Millisecond

// Start implements driver.Driver.
//
// A pod is made with a gate before it, so that it gets no node. Then the session's
// record is changed to say that the generation runs, which fails if a stop was
// noted meanwhile, and then the gate is taken away. A stop is noted first and looks
// for pods then. So one of both sees the other, in whichever order and by whichever
// agent they are done.
func (d *Driver) Start(ctx context.Context, spec driver.Spec) (driver.Runtime, error) {
	if spec.SessionID == "" || spec.Template.Spec.BaseImage == "" {
		return driver.Runtime{}, models.Errorf(models.CodeTemplateInvalid, "the template %q names no image (spec.baseImage)", spec.Template.Metadata.Name)
	}
	release, err := d.sessions.Take(ctx, value(spec.SessionID))
	if err != nil {
		return driver.Runtime{}, err
	}
	defer release()
	owner, err := d.note(ctx, spec.SessionID, func(r *record) error { return r.admits(spec.Generation) })
	if err != nil {
		return driver.Runtime{}, err
	}
	pod, err := d.already(ctx, spec.Ref)
	if err != nil {
		return driver.Runtime{}, err
	}
	if pod != nil && !gated(pod) {
		if pod, err = d.ready(ctx, spec, pod); err != nil {
			return driver.Runtime{}, err
		}
		return runtimeOf(pod), nil
	}
	if pod, err = d.launch(ctx, spec, owner, pod); err != nil {
		d.tidy(ctx, spec.Ref)
		return driver.Runtime{}, err
	}
	return runtimeOf(pod), nil
}

// already gives the pod of the session if there is one, removes those of older
// generations, and refuses what a newer one has overtaken and what has run and
// ended.
func (d *Driver) already(ctx context.Context, ref driver.Ref) (same *core.Pod, err error) {
	all, err := d.of(ctx, ref.SessionID)
	if err != nil {
		return nil, err
	}
	for i := range all {
		pod, other := &all[i], refOf(&all[i])
		switch {
		case other.Generation > ref.Generation:
			return nil, models.Errorf(models.CodeTransitionIllegal, "session %q runs in the later generation %d", ref.SessionID, other.Generation)
		case other.Generation == ref.Generation && ended(pod):
			return nil, models.Errorf(models.CodeRuntimeExited, "%s", exitOf(pod).Reason)
		case other.Generation == ref.Generation && pod.DeletionTimestamp == nil:
			same = pod
		default: // an older one, or one that a failed start is removing
			if err := d.remove(ctx, pod); err != nil {
				return nil, err
			}
		}
	}
	return same, nil
}

// launch makes a pod unless there is one, lets it run, and waits for its stream.
func (d *Driver) launch(ctx context.Context, spec driver.Spec, owner record, pod *core.Pod) (*core.Pod, error) {
	described, err := d.describe(spec, owner)
	if err != nil {
		return nil, err
	}
	if spec.PersistentHome {
		release, err := d.others.Take(ctx, d.homeOf(spec))
		if err != nil {
			return nil, err
		}
		defer release()
		if err := d.haveHome(ctx, spec); err != nil {
			return nil, err
		}
	}
	if pod == nil {
		// What nobody waits for any more would be made all the same.
		making, cancel := context.WithTimeout(context.WithoutCancel(ctx), callWithin)
		pod, err = d.api.CoreV1().Pods(d.config.Namespace).Create(making, described, meta.CreateOptions{})
		cancel()
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, refused("make a pod", err)
		}
	}
	//failpoint:pod-made
	if err := d.ownsHome(ctx, pod); err != nil {
		return nil, err
	}
	_, err = d.note(ctx, spec.SessionID, func(r *record) error {
		if err := r.admits(spec.Generation); err != nil {
			return err
		}
		r.running = spec.Generation
		return nil
	})
	if err != nil {
		return nil, err
	}
	//failpoint:pod-admitted
	if pod, err = d.admit(ctx, pod); err != nil {
		return nil, err
	}
	return d.ready(ctx, spec, pod)
}

// admit takes the gate away from exactly this pod.
func (d *Driver) admit(ctx context.Context, pod *core.Pod) (*core.Pod, error) {
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": pod.UID},
		{"op": "remove", "path": "/spec/schedulingGates"},
	})
	if err != nil {
		return nil, fmt.Errorf("encode a patch: %w", err)
	}
	admitted, err := d.api.CoreV1().Pods(d.config.Namespace).Patch(ctx, pod.Name, types.JSONPatchType, patch, meta.PatchOptions{})
	if apierrors.IsNotFound(err) {
		return nil, models.Errorf(models.CodeTransitionIllegal, "the session was stopped while it was started")
	}
	if err != nil {
		return nil, refused("let a pod run", err)
	}
	return admitted, nil
}

// ready waits until the session's stream can be dialled.
func (d *Driver) ready(ctx context.Context, spec driver.Spec, pod *core.Pod) (*core.Pod, error) {
	changed, leave := d.changes.of(pod.Name)
	defer leave()
	placing, unplaced := time.NewTimer(d.config.PlaceWithin), true
	defer placing.Stop()
	dialling := time.NewTicker(dialEvery)
	defer dialling.Stop()
	var late <-chan time.Time // once the container runs
	told := ""
	defer spec.Tell(models.Progress{})
	for {
		if seen, there := d.cached(pod.Name); there && seen.UID == pod.UID {
			pod = seen
		} else if newest, err := d.get(ctx, pod); err != nil {
			return nil, err
		} else {
			pod = newest
		}
		at := look(pod, d.warnings(pod))
		if now := at.words(pod); now != told {
			told = now
			spec.Tell(models.Progress{Message: told})
		}
		switch {
		case at.failure != nil:
			return nil, at.failure
		case at.stage == stageReady, at.stage == stageRunning && d.answers(ctx, pod):
			return pod, nil
		case at.stage == stageRunning && late == nil:
			timer := time.NewTimer(d.config.ReadyWithin)
			defer timer.Stop()
			late = timer.C
		}
		// That a volume is not mounted shows some time after the pod has its node.
		if now := at.stage == stageUnplaced; now != unplaced {
			if unplaced = now; now {
				placing.Reset(d.config.PlaceWithin)
			} else {
				placing.Stop()
			}
		}
		var again <-chan time.Time
		if at.stage == stageRunning && (d.config.Direct || pages(pod)) {
			again = dialling.C
		}
		select {
		case <-changed:
		case <-again:
		case <-placing.C:
			return nil, at.overdue(d.config.PlaceWithin)
		case <-late:
			return nil, models.Errorf(models.CodeCommandFailed, "nothing listened on port %s of the session's container within %s", pod.Annotations[annotationPort], d.config.ReadyWithin)
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) && at.waitsFor != nil {
				return nil, at.waitsFor // which is why it takes so long
			}
			return nil, ctx.Err()
		}
	}
}

// answers tells whether a session's pages are ready, or else whether its port takes
// connections, where pods can be dialled: that it does so, as its node sees it, is
// known later.
func (d *Driver) answers(ctx context.Context, pod *core.Pod) bool {
	if pages(pod) {
		return health.Ask(ctx, models.HTTP{HealthPath: pod.Annotations[annotationHealth], TLS: pod.Annotations[annotationTLS] != ""},
			func(ctx context.Context) (net.Conn, error) { return d.dialPort(ctx, pod) }) == nil
	}
	if !d.config.Direct {
		return false
	}
	dialling, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := d.dialPort(dialling, pod)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// get gives a pod as it is now.
func (d *Driver) get(ctx context.Context, pod *core.Pod) (*core.Pod, error) {
	now, err := d.api.CoreV1().Pods(d.config.Namespace).Get(ctx, pod.Name, meta.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && now.UID != pod.UID {
		return nil, &models.Error{Code: models.CodeRuntimeLost, Retryable: true, Message: "the session's pod was removed while it was started"}
	}
	if err != nil {
		return nil, refused("look at a pod", err)
	}
	return now, nil
}

// tidy removes what a start that failed has made.
func (d *Driver) tidy(ctx context.Context, ref driver.Ref) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyWithin)
	defer cancel()
	_, err := d.note(ctx, ref.SessionID, func(r *record) error {
		if r.running == ref.Generation {
			r.running = 0
		}
		return nil
	})
	if err == nil {
		var all []core.Pod
		all, err = d.of(ctx, ref.SessionID)
		for i := range all {
			if refOf(&all[i]) == ref {
				err = errors.Join(err, d.remove(ctx, &all[i]))
			}
		}
	}
	if err != nil {
		d.config.Logger.Error("what a failed start has left is removed with the session", "session", ref.SessionID, "error", err)
	}
}
