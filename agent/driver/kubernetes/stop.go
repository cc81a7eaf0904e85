package kubernetes

import (
	"context"
	"fmt"
	"math"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// lookAgain is how long the news that a pod has gone may take before it is asked
// for.
const lookAgain = time.Second

// Stop implements driver.Driver. That the session is not to run any more is noted
// before its pods are looked for; Start says why.
func (d *Driver) Stop(ctx context.Context, ref driver.Ref) error {
	release, err := d.sessions.Take(ctx, value(ref.SessionID))
	if err != nil {
		return err
	}
	defer release()
	_, err = d.note(ctx, ref.SessionID, func(r *record) error {
		if whatever(ref) {
			r.running = 0 // and whoever asks so may start it again
		} else if ref.Generation > r.over {
			r.over, r.reason = ref.Generation, ""
		}
		return nil
	})
	if err != nil {
		return err
	}
	//failpoint:stop-noted
	all, err := d.of(ctx, ref.SessionID)
	if err != nil {
		return err
	}
	for i := range all {
		if refOf(&all[i]).Generation > ref.Generation {
			continue
		}
		if err := d.remove(ctx, &all[i]); err != nil {
			return err
		}
	}
	return nil
}

// whatever tells that a stop means the session, whatever it runs as, as it does in
// the basic protocol, where the same session is started again later.
func whatever(ref driver.Ref) bool { return ref.Generation == 0 || ref.Generation == math.MaxInt64 }

// of lists the pods of a session as they are now.
func (d *Driver) of(ctx context.Context, sessionID string) ([]core.Pod, error) {
	found, err := d.api.CoreV1().Pods(d.config.Namespace).List(ctx, meta.ListOptions{
		LabelSelector: fmt.Sprintf("%s,%s=%s", d.mine(), labelSession, value(sessionID))})
	if err != nil {
		return nil, refused("list pods", err)
	}
	return found.Items, nil
}

// remove ends a pod, and returns once nothing of it is left and that was seen.
func (d *Driver) remove(ctx context.Context, pod *core.Pod) error {
	pods := d.api.CoreV1().Pods(d.config.Namespace)
	changed, leave := d.changes.of(pod.Name)
	defer leave()
	err := pods.Delete(ctx, pod.Name, meta.DeleteOptions{Preconditions: meta.NewUIDPreconditions(string(pod.UID))})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return refused("remove a pod", err)
	}
	for tick := time.NewTicker(lookAgain); ; {
		now, err := pods.Get(ctx, pod.Name, meta.GetOptions{})
		gone := apierrors.IsNotFound(err) || err == nil && now.UID != pod.UID
		if err != nil && !gone && ctx.Err() == nil {
			d.config.Logger.Warn("whether a pod is gone is not known, and asked again", "pod", pod.Name, "error", err)
		}
		if seen, there := d.cached(pod.Name); gone && (!there || seen.UID != pod.UID) {
			return nil
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-ctx.Done():
			return &models.Error{Code: models.CodeUnavailable, Retryable: true, Err: ctx.Err(),
				Message: fmt.Sprintf("the session's pod %s does not end; see whether its node %q works", pod.Name, pod.Spec.NodeName)}
		}
	}
}
