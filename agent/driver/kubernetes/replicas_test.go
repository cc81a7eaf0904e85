package kubernetes_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/kubernetes"
	"github.com/streamspace/streamspace/models"
)

// What one replica has stopped no other one starts, whatever it remembers.
func TestStopIsForAllReplicas(t *testing.T) {
	p := newPlace(t, "tombstones")
	one, other := p.open(t, kubernetes.Config{AgentID: "same"}), p.open(t, kubernetes.Config{AgentID: "same"})
	stop := func(d *kubernetes.Driver, ref driver.Ref) {
		t.Helper()
		if err := d.Stop(limited(t), ref); err != nil {
			t.Fatal(err)
		}
	}
	refuses := func(d *kubernetes.Driver, ref driver.Ref) {
		t.Helper()
		spec := lasting(ref.SessionID)
		spec.Ref = ref
		if _, err := d.Start(limited(t), spec); models.CodeOf(err) != models.CodeTransitionIllegal {
			t.Errorf("the start of %v gives %v", ref, err)
		}
	}
	// Also a stop of what has never run.
	second := driver.Ref{SessionID: "never", Generation: 2}
	stop(one, second)
	refuses(other, first("never"))
	refuses(other, second)
	if _, err := one.Start(limited(t), lasting("ran")); err != nil {
		t.Fatal(err)
	}
	stop(other, first("ran"))
	refuses(one, first("ran"))
	third := lasting("never")
	third.Generation = 3
	if _, err := other.Start(limited(t), third); err != nil {
		t.Errorf("a later generation does not start: %v", err)
	}
	stop(one, third.Ref)

	// In the basic protocol a session has no generations, and starts again.
	basic := lasting("basic")
	basic.Generation = 0
	for range 2 {
		if _, err := one.Start(limited(t), basic); err != nil {
			t.Fatal(err)
		}
		stop(other, driver.Ref{SessionID: "basic", Generation: math.MaxInt64})
	}
}

// A replica that is slow to start what another one has stopped meanwhile does not
// let it run: wherever in its start it was.
func TestSlowStartAfterStop(t *testing.T) {
	p := newPlace(t, "fence")
	slow, other := p.open(t, kubernetes.Config{AgentID: "fence"}), p.open(t, kubernetes.Config{AgentID: "fence"})
	pods, err := p.Admin.CoreV1().Pods(p.namespace).Watch(limited(t), meta.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer pods.Stop()
	const moments = 12
	for i := range moments {
		spec := lasting("raced")
		spec.Generation = int64(i + 1)
		started := make(chan error, 1)
		go func() {
			_, err := slow.Start(limited(t), spec)
			started <- err
		}()
		// The moments are spread over what a start asks of the API.
		<-time.After(time.Duration(i) * 4 * time.Millisecond)
		if err := other.Stop(limited(t), spec.Ref); err != nil {
			t.Fatal(err)
		}
		if left := p.left(t, "fence", "raced"); len(left) > 0 {
			t.Errorf("after a stop at moment %d there is left: %v", i, left)
		}
		if err := <-started; err == nil {
			t.Errorf("the start at moment %d succeeds", i)
		}
		if left := p.left(t, "fence", "raced"); len(left) > 0 {
			t.Errorf("after the start at moment %d there is left: %v", i, left)
		}
	}
}

// A start that was interrupted behind its gate is in the inventory, is finished by
// a repeat, and by whoever works for the agent then.
func TestInterruptedStart(t *testing.T) {
	p := newPlace(t, "interrupted")
	d := p.open(t, kubernetes.Config{AgentID: "interrupted"})
	// The gate of a pod whose home is in use is not opened, so one can be held there.
	keeping := func(sessionID string) driver.Spec {
		spec := lasting(sessionID)
		spec.PersistentHome = true
		return spec
	}
	if _, err := d.Start(limited(t), keeping("owner")); err != nil {
		t.Fatal(err)
	}
	pod, err := p.Admin.CoreV1().Pods(p.namespace).List(limited(t), meta.ListOptions{})
	if err != nil || len(pod.Items) != 1 {
		t.Fatalf("the pods are %v, %v", pod.Items, err)
	}
	gated := pod.Items[0].DeepCopy()
	gated.ObjectMeta = meta.ObjectMeta{Name: gated.Name, Labels: gated.Labels, Annotations: gated.Annotations, OwnerReferences: gated.OwnerReferences}
	gated.Spec.NodeName, gated.Spec.SchedulingGates = "", []core.PodSchedulingGate{{Name: "streamspace.io/admitted"}}
	gated.Status = core.PodStatus{}
	if err := d.Stop(limited(t), driver.Ref{SessionID: "owner", Generation: math.MaxInt64}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Admin.CoreV1().Pods(p.namespace).Create(limited(t), gated, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	again := p.open(t, kubernetes.Config{AgentID: "interrupted"})
	if inventory, err := again.Inventory(limited(t)); err != nil || len(inventory) != 1 || inventory[0].Ref != first("owner") || !inventory[0].Starting {
		t.Fatalf("the inventory is %v, %v", inventory, err)
	}
	if finished, err := again.Start(limited(t), keeping("owner")); err != nil || finished.Starting {
		t.Fatalf("finished it is %+v, %v", finished, err)
	}
	if err := again.Stop(limited(t), first("owner")); err != nil {
		t.Fatal(err)
	}
}

// Whose record goes, goes with it; and records go that nobody needs any more.
func TestRecords(t *testing.T) {
	p := newPlace(t, "records")
	d := p.open(t, kubernetes.Config{AgentID: "records", KeepRecords: 2 * time.Second})
	for _, id := range []string{"over", "runs"} {
		if _, err := d.Start(limited(t), lasting(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Stop(limited(t), first("over")); err != nil {
		t.Fatal(err)
	}
	records := p.Admin.CoreV1().ConfigMaps(p.namespace)
	changes, err := records.Watch(limited(t), ofAgent("records"))
	if err != nil {
		t.Fatal(err)
	}
	defer changes.Stop()
	for change := range changes.ResultChan() {
		if record, is := change.Object.(*core.ConfigMap); is && change.Type == watch.Deleted {
			if got := record.Annotations["streamspace.io/session"]; got != "over" {
				t.Errorf("the record of %q is gone", got)
			}
			break
		}
	}
	if err := records.DeleteCollection(limited(t), meta.DeleteOptions{}, ofAgent("records")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod is gone", func() error {
		pods, err := p.Admin.CoreV1().Pods(p.namespace).List(limited(t), ofAgent("records"))
		if err == nil && len(pods.Items) > 0 {
			err = errors.New("there is one")
		}
		return err
	})
}

// leaseOver is longer than a lease lasts that nobody renews.
const leaseOver = 9 * time.Second

// Of two replicas one works. The other takes over when it is stopped, at once, and
// within 15 s when it just is not heard of any more.
func TestReplicasTakeTurns(t *testing.T) {
	p := newPlace(t, "lease")
	type replica struct {
		working, ended chan struct{}
		stop           context.CancelFunc
		over           chan error
	}
	begin := func(name string) replica {
		ctx, stop := context.WithCancel(context.Background())
		r := replica{working: make(chan struct{}, 9), ended: make(chan struct{}, 9), stop: stop, over: make(chan error, 1)}
		go func() {
			r.over <- kubernetes.Lead(ctx, kubernetes.Config{AgentID: "lease", Kubeconfig: p.kubeconfig, Namespace: p.namespace}, name, func(ctx context.Context) error {
				r.working <- struct{}{}
				<-ctx.Done()
				r.ended <- struct{}{}
				return nil
			})
		}()
		t.Cleanup(func() { stop() })
		return r
	}
	await := func(what string, news <-chan struct{}) {
		t.Helper()
		select {
		case <-news:
		case <-time.After(within):
			t.Fatalf("%s: not within %v", what, within)
		}
	}
	one := begin("one")
	await("the first one works", one.working)
	other := begin("other")
	one.stop()
	await("the first one ends", one.ended)
	if err := <-one.over; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	await("the other one works", other.working)

	// Somebody else takes the lease, as when this one was not heard of for a while:
	// it stops, and works again once that one is not heard of.
	leases := p.Admin.CoordinationV1().Leases(p.namespace)
	all, err := leases.List(limited(t), meta.ListOptions{})
	if err != nil || len(all.Items) != 1 {
		t.Fatalf("the leases are %v, %v", all.Items, err)
	}
	stranger := "stranger"
	eventually(t, "a stranger has the lease", func() error {
		lease, err := leases.Get(limited(t), all.Items[0].Name, meta.GetOptions{})
		if err != nil {
			return err
		}
		now := meta.NowMicro()
		lease.Spec.HolderIdentity, lease.Spec.RenewTime = &stranger, &now
		_, err = leases.Update(limited(t), lease, meta.UpdateOptions{})
		return err
	})
	begun := time.Now()
	await("the other one ends", other.ended)
	await("the other one works again", other.working)
	took := time.Since(begun)
	t.Logf("it took over after %v", took)
	if took > 15*time.Second {
		t.Errorf("it took over after %v", took)
	}
	// The API is away for longer than the lease lasts, for all: who works goes on.
	p.StopAPI()
	select {
	case <-other.ended:
		t.Error("without the API nobody works")
	case <-time.After(leaseOver):
	}
	if err := p.StartAPI(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lease is renewed", func() error {
		lease, err := leases.Get(limited(t), all.Items[0].Name, meta.GetOptions{})
		if err == nil && time.Since(lease.Spec.RenewTime.Time) > leaseOver/2 {
			err = errors.New("it is not yet")
		}
		return err
	})
	select {
	case <-other.ended:
		t.Error("it has ended")
	default:
	}
	other.stop()
	if err := <-other.over; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
