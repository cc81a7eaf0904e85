package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"

	"github.com/streamspace/streamspace/agent/driver"
)

const (
	// tellAgain is the pause before a session is looked at again whose end could
	// not be found out.
	tellAgain = time.Second
	// lastWords bounds what is told of a session's output, in bytes.
	lastWords = 200
)

// Exits implements driver.Driver. A session's end is told once its pod has ended,
// or is gone although nobody stopped it; those that did so while nobody listened
// are looked for when that begins. Its record says then that it is over, and the
// pod is removed.
func (d *Driver) Exits(ctx context.Context) (<-chan driver.Exit, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ends != nil {
		return nil, errors.New("exits are already being delivered to another caller")
	}
	queue := workqueue.NewTypedDelayingQueue[string]()
	d.ends = queue
	exits := make(chan driver.Exit)
	for _, key := range append(d.pods.GetIndexer().ListIndexFuncValues(bySession), d.records.GetIndexer().ListIndexFuncValues(bySession)...) {
		queue.Add(key)
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, queue.ShutDown)
	go func() {
		defer close(exits)
		defer func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.ends = nil
		}()
		// One whose session has another generation starting waits for that, which may
		// take as long as an image does; the others do not wait for it.
		var telling sync.WaitGroup
		for {
			key, over := queue.Get()
			if over {
				break
			}
			telling.Go(func() {
				defer queue.Done(key)
				if err := d.tell(ctx, key, exits); err != nil && ctx.Err() == nil {
					d.config.Logger.Warn("how a session ended is not known, and looked for again", "session", key, "error", err)
					queue.AddAfter(key, tellAgain)
				}
			})
		}
		cancel()
		stop()
		telling.Wait()
	}()
	return exits, nil
}

// tell delivers the end of a session, by its label, if it has ended and was not
// stopped: whoever does that has its turn until it is gone.
func (d *Driver) tell(ctx context.Context, key string, exits chan<- driver.Exit) error {
	exit, found, err := d.findEnd(ctx, key)
	if err != nil || !found {
		return err
	}
	select {
	case exits <- exit:
	case <-ctx.Done():
		return ctx.Err() // it is told again to the next caller
	}
	// Once told it is not told again, also if nobody listens any more.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyWithin)
	defer cancel()
	release, err := d.sessions.Take(ctx, key)
	if err != nil {
		return err
	}
	defer release()
	_, err = d.note(ctx, exit.SessionID, func(r *record) error {
		if exit.Generation > r.over {
			r.over, r.reason = exit.Generation, exit.Reason
		}
		return nil
	})
	if err != nil {
		return err
	}
	all, err := d.of(ctx, exit.SessionID)
	for i := range all {
		if err == nil && refOf(&all[i]) == exit.Ref {
			err = d.remove(ctx, &all[i])
		}
	}
	return err
}

// findEnd gives a session's end that is to be told.
func (d *Driver) findEnd(ctx context.Context, key string) (exit driver.Exit, found bool, err error) {
	release, err := d.sessions.Take(ctx, key)
	if err != nil {
		return exit, false, err
	}
	defer release()
	noted := record{}
	if objects, _ := d.records.GetIndexer().ByIndex(bySession, key); len(objects) > 0 {
		// What is seen may be older than what is so.
		if noted, err = d.read(ctx, recordOf(objects[0].(*core.ConfigMap)).sessionID); err != nil {
			return exit, false, err
		}
	}
	runs := false
	pods, _ := d.pods.GetIndexer().ByIndex(bySession, key) // the index is there
	for _, object := range pods {
		pod := object.(*core.Pod)
		ref := refOf(pod)
		switch {
		case noted.over >= ref.Generation && ref.Generation > 0:
			// It was told, or is being stopped.
		case ended(pod):
			return exitOf(pod), true, nil
		}
		runs = runs || ref.Generation == noted.running
	}
	if noted.running <= noted.over || runs {
		return exit, false, nil
	}
	ref := driver.Ref{SessionID: noted.sessionID, Generation: noted.running}
	_, err = d.api.CoreV1().Pods(d.config.Namespace).Get(ctx, d.podName(ref), meta.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return exit, false, err // it has come back, or nobody knows
	}
	return driver.Exit{Ref: ref, Lost: true, Reason: "the session's pod was removed from the cluster, as when a node is drained"}, true, nil
}

// exitOf says how a pod has ended.
func exitOf(pod *core.Pod) driver.Exit {
	exit := driver.Exit{Ref: refOf(pod)}
	state, memory := stateOf(pod).Terminated, pod.Annotations[annotationMemory]
	switch {
	case lost(pod):
		exit.Lost, exit.Reason = true, "the session's pod was ended by the cluster: "+lostBecause(pod)
	case state == nil:
		exit.Lost, exit.Reason = true, "the session's pod has ended, and nothing says how"
	case state.Reason == "OOMKilled" && memory != "":
		exit.Reason = fmt.Sprintf("the session ran out of memory: its limit is %s. Launch it with more", memory)
	case state.Reason == "OOMKilled":
		exit.Reason = "the session ran out of memory"
	case state.Signal != 0:
		exit.Reason = fmt.Sprintf("the session's program was ended by signal %d", state.Signal)
	case state.ExitCode > 128:
		exit.Reason = fmt.Sprintf("the session's program was ended by signal %d", state.ExitCode-128)
	default:
		exit.Clean = state.ExitCode == 0
		exit.Reason = fmt.Sprintf("the session's program ended with exit status %d", state.ExitCode)
		if said := lastLine(state.Message); !exit.Clean && said != "" {
			exit.Reason += ": " + said
		}
	}
	return exit
}

// lost tells that the cluster has ended a pod, whatever became of its program
// then.
func lost(pod *core.Pod) bool {
	if condition(pod, core.DisruptionTarget).Status == core.ConditionTrue || pod.Status.Phase == core.PodFailed && pod.Status.Reason != "" {
		return true
	}
	if pod.DeletionTimestamp == nil {
		return false
	}
	// One that had ended before somebody removed it ended by itself.
	grace := int64(0)
	if pod.DeletionGracePeriodSeconds != nil {
		grace = *pod.DeletionGracePeriodSeconds
	}
	asked := pod.DeletionTimestamp.Add(-time.Duration(grace) * time.Second)
	state := stateOf(pod).Terminated
	return state == nil || !state.FinishedAt.Time.Before(asked)
}

func lostBecause(pod *core.Pod) string {
	disrupted := condition(pod, core.DisruptionTarget)
	for _, said := range []string{disrupted.Message, pod.Status.Message, disrupted.Reason, pod.Status.Reason} {
		if said != "" {
			return said
		}
	}
	return "it was removed"
}

// lastLine is the last line of output that says anything.
func lastLine(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	return strings.ToValidUTF8(last[max(0, len(last)-lastWords):], "")
}
