// Package kubernetes runs sessions as pods of a Kubernetes cluster.
//
// Labels alone say which pods, claims and records are whose: the agent's, for
// which session and which generation. A session has a record, a ConfigMap that
// owns its pod and that says which generation may run: so whoever acts for the
// agent next, with another disk or none, knows what must not be started any more,
// and whoever was about to start it finds out before anything runs.
//
// What is known of the cluster comes from watching it. While its API is away the
// last that was seen counts, and sessions go on.
package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/turns"
	"github.com/streamspace/streamspace/models"
)

// The defaults of Config.
const (
	// DefaultReadyWithin is long, as a desktop in a container may set itself up
	// first.
	DefaultReadyWithin = 2 * time.Minute
	// DefaultPlaceWithin gives a cluster that grows by itself the time to.
	DefaultPlaceWithin = 5 * time.Minute
	DefaultStopGrace   = 5 * time.Second
	DefaultHomeSize    = "10Gi"
	// DefaultKeepRecords is far longer than a command is tried.
	DefaultKeepRecords = 24 * time.Hour
)

const (
	// tidyWithin bounds the removal of what a start or a session leaves behind, and
	// callWithin one call to the API that is not given up with its caller.
	tidyWithin = time.Minute
	callWithin = 30 * time.Second
	// callsPerSecond and callsAtOnce bound what the API is asked.
	callsPerSecond, callsAtOnce = 100, 200
)

// Config configures a Driver. AgentID must be set; the zero value of any other
// field means its default.
type Config struct {
	// AgentID is whose pods these are.
	AgentID string
	// Kubeconfig is the file that says where the cluster is and as whom it is used.
	// Empty is the cluster that the agent itself runs in, or else the usual file.
	Kubeconfig string
	// Namespace is where the sessions' pods are; that of the agent's own pod or of
	// the kubeconfig's context.
	Namespace string
	// StorageClass is of persistent homes; the cluster's default one.
	StorageClass string
	// HomeSize is how much they hold; DefaultHomeSize.
	HomeSize string
	// Direct has streams be dialled at the pods' addresses, as is done inside of the
	// cluster anyway. Otherwise they go through the API.
	Direct bool
	// Logger discards by default.
	Logger *slog.Logger
	// PlaceWithin bounds how long a pod may have no node or no volume;
	// DefaultPlaceWithin.
	PlaceWithin time.Duration
	// ReadyWithin bounds how long a session's stream may take to be there, once its
	// container runs; DefaultReadyWithin.
	ReadyWithin time.Duration
	// StopGrace is how long programs have to end by themselves when a session is
	// stopped, before they are killed, in whole seconds; DefaultStopGrace.
	StopGrace time.Duration
	// KeepRecords is for how long it is remembered that a session is over;
	// DefaultKeepRecords.
	KeepRecords time.Duration
}

// Driver implements driver.Driver. Safe for concurrent use. Close ends it.
type Driver struct {
	config Config
	access *rest.Config
	api    kubernetes.Interface
	// sessions are the turns of sessions, others those of homes and terminals. Who
	// wants both takes the session's first.
	sessions, others *turns.Turns

	pods, events, records cache.SharedIndexInformer
	changes               *changes
	watching              sync.WaitGroup
	closing               context.Context
	stopWatching          context.CancelFunc

	mu        sync.Mutex
	ends      workqueue.TypedDelayingInterface[string]
	terminals map[string]*shared
}

var (
	_ driver.Driver = (*Driver)(nil)
	_ io.Closer     = (*Driver)(nil)
)

// New makes a driver, and returns once it has seen what there is.
func New(ctx context.Context, config Config) (*Driver, error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	for field, otherwise := range map[*time.Duration]time.Duration{
		&config.ReadyWithin: DefaultReadyWithin, &config.PlaceWithin: DefaultPlaceWithin, &config.StopGrace: DefaultStopGrace,
		&config.KeepRecords: DefaultKeepRecords,
	} {
		if *field <= 0 {
			*field = otherwise
		}
	}
	if config.HomeSize == "" {
		config.HomeSize = DefaultHomeSize
	}
	if _, err := resource.ParseQuantity(config.HomeSize); err != nil {
		return nil, fmt.Errorf("--home-size: %q is no amount of bytes, such as %s: %w", config.HomeSize, DefaultHomeSize, err)
	}
	access, namespace, inside, err := reach(config.Kubeconfig)
	if err != nil {
		return nil, err
	}
	if config.Namespace == "" {
		config.Namespace = namespace
	}
	config.Direct = config.Direct || inside
	api, err := kubernetes.NewForConfig(access)
	if err != nil {
		return nil, fmt.Errorf("the cluster's address: %w", err)
	}
	d := &Driver{config: config, access: access, api: api, sessions: turns.New(), others: turns.New(), changes: newChanges(), terminals: map[string]*shared{}}
	if err := d.watch(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	d.watching.Go(d.forgetRecords)
	return d, nil
}

// reach finds the cluster; inside tells that it is the one that this process runs
// in.
func reach(kubeconfig string) (access *rest.Config, namespace string, inside bool, err error) {
	if kubeconfig == "" {
		if access, err = rest.InClusterConfig(); err == nil {
			own, readErr := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
			if namespace = strings.TrimSpace(string(own)); readErr != nil || namespace == "" {
				namespace = meta.NamespaceDefault
			}
			inside = true
		}
	}
	if access == nil {
		rules := clientcmd.NewDefaultClientConfigLoadingRules()
		rules.ExplicitPath = kubeconfig
		file := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil)
		if access, err = file.ClientConfig(); err == nil {
			namespace, _, err = file.Namespace()
		}
		if err != nil {
			return nil, "", false, fmt.Errorf("--kubeconfig: %w", err)
		}
	}
	access.QPS, access.Burst, access.UserAgent = callsPerSecond, callsAtOnce, "streamspace-agent"
	return access, namespace, inside, nil
}

// Namespace is where the sessions' pods are.
func (d *Driver) Namespace() string { return d.config.Namespace }

// Close stops watching. The sessions go on. It always succeeds.
func (d *Driver) Close() error {
	d.stopWatching()
	d.watching.Wait()
	return nil
}

// watch begins to watch the cluster, and returns once all that there was has been
// seen.
func (d *Driver) watch(ctx context.Context) error {
	d.closing, d.stopWatching = context.WithCancel(context.Background())
	mine := informers.NewSharedInformerFactoryWithOptions(d.api, 0, informers.WithNamespace(d.config.Namespace),
		informers.WithTweakListOptions(func(options *meta.ListOptions) { options.LabelSelector = d.mine() }), informers.WithTransform(slim))
	ofPods := informers.NewSharedInformerFactoryWithOptions(d.api, 0, informers.WithNamespace(d.config.Namespace),
		informers.WithTweakListOptions(func(options *meta.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector("involvedObject.kind", "Pod").String()
		}), informers.WithTransform(slim))
	d.pods, d.records = mine.Core().V1().Pods().Informer(), mine.Core().V1().ConfigMaps().Informer()
	d.events = ofPods.Core().V1().Events().Informer()

	seen := make([]cache.InformerSynced, 0, 3)
	refused := make(chan error, 1)
	for _, one := range []cache.SharedIndexInformer{d.pods, d.records, d.events} {
		err := one.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
			d.config.Logger.Warn("the cluster is not seen, and looked at again", "error", err)
			select {
			case refused <- err:
			default: // one is enough to tell
			}
		})
		if err != nil {
			return err
		}
		seen = append(seen, one.HasSynced)
	}
	for _, one := range []struct {
		informer cache.SharedIndexInformer
		index    string
		by       cache.IndexFunc
		changed  func(any)
	}{
		{d.pods, bySession, sessionOf, d.podChanged},
		{d.events, byPod, podOf, d.eventChanged},
		{d.records, bySession, sessionOf, func(any) {}},
	} {
		if err := one.informer.AddIndexers(cache.Indexers{one.index: one.by}); err != nil {
			return err
		}
		_, err := one.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: one.changed, UpdateFunc: func(_, now any) { one.changed(now) }, DeleteFunc: one.changed,
		})
		if err != nil {
			return err
		}
	}
	for _, one := range []cache.SharedIndexInformer{d.pods, d.records, d.events} {
		d.watching.Go(func() { one.RunWithContext(d.closing) })
	}
	if !cache.WaitForCacheSync(ctx.Done(), seen...) {
		err := ctx.Err()
		select {
		case err = <-refused:
		default:
		}
		return &models.Error{Code: models.CodeUnavailable, Retryable: true, Err: err,
			Message: fmt.Sprintf("the cluster at %s does not answer, or does not let this agent see the pods, configmaps and events of namespace %q", d.access.Host, d.config.Namespace)}
	}
	return nil
}

// slim leaves out what nobody here reads.
func slim(object any) (any, error) {
	if has, is := object.(meta.ObjectMetaAccessor); is {
		has.GetObjectMeta().SetManagedFields(nil)
	}
	return object, nil
}

// The indices of what is watched.
const (
	bySession = "session"
	byPod     = "pod"
)

func sessionOf(object any) ([]string, error) {
	if has, is := object.(meta.ObjectMetaAccessor); is {
		return []string{has.GetObjectMeta().GetLabels()[labelSession]}, nil
	}
	return nil, nil
}

func podOf(object any) ([]string, error) {
	if event, is := object.(*core.Event); is {
		return []string{event.InvolvedObject.Name}, nil
	}
	return nil, nil
}

func (d *Driver) podChanged(object any) {
	if gone, is := object.(cache.DeletedFinalStateUnknown); is {
		object = gone.Obj
	}
	pod, is := object.(*core.Pod)
	if !is {
		return
	}
	d.changes.tell(pod.Name)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ends != nil {
		d.ends.Add(pod.Labels[labelSession])
	}
}

func (d *Driver) eventChanged(object any) {
	if event, is := object.(*core.Event); is {
		d.changes.tell(event.InvolvedObject.Name)
	}
}

// Platform implements driver.Driver.
func (d *Driver) Platform() string { return models.PlatformKubernetes }

// Facilities implements driver.Driver. What sessions need is in their images.
func (d *Driver) Facilities(context.Context, []string) ([]string, error) { return nil, nil }

// Inventory implements driver.Driver. Pods that no node has yet are among them,
// since a start may have been interrupted.
func (d *Driver) Inventory(context.Context) ([]driver.Runtime, error) {
	var runtimes []driver.Runtime
	for _, object := range d.pods.GetStore().List() {
		if pod := object.(*core.Pod); !ended(pod) {
			runtimes = append(runtimes, runtimeOf(pod))
		}
	}
	return runtimes, nil
}

// runtimeOf describes a pod.
func runtimeOf(pod *core.Pod) driver.Runtime {
	runtime := driver.Runtime{Ref: refOf(pod), Protocol: models.Protocol(pod.Labels[labelProtocol]), TimeLimits: limitsOf(pod),
		StartedAt: pod.CreationTimestamp.UTC(), Metadata: map[string]any{"pod": pod.Name, "namespace": pod.Namespace}}
	runtime.Starting = stateOf(pod).Running == nil
	if pod.Spec.NodeName != "" {
		runtime.Metadata["node"] = pod.Spec.NodeName
	}
	if len(pod.Spec.Containers) > 0 {
		runtime.Metadata["image"] = pod.Spec.Containers[0].Image
	}
	// Of one that has not begun it is when it was made.
	state := stateOf(pod)
	switch {
	case state.Running != nil:
		runtime.StartedAt = state.Running.StartedAt.UTC()
	case state.Terminated != nil && !state.Terminated.StartedAt.IsZero():
		runtime.StartedAt = state.Terminated.StartedAt.UTC()
	}
	return runtime
}

// cached gives a pod as it was seen last.
func (d *Driver) cached(name string) (*core.Pod, bool) {
	object, there, err := d.pods.GetStore().GetByKey(d.config.Namespace + "/" + name)
	if err != nil || !there {
		return nil, false
	}
	return object.(*core.Pod), true
}

// warnings are the events of a pod.
func (d *Driver) warnings(pod *core.Pod) (all []*core.Event) {
	objects, _ := d.events.GetIndexer().ByIndex(byPod, pod.Name) // the index is there
	for _, object := range objects {
		if event := object.(*core.Event); event.InvolvedObject.UID == pod.UID && event.Type == core.EventTypeWarning {
			all = append(all, event)
		}
	}
	return all
}
