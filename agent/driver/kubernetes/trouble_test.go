package kubernetes_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/kubernetes"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/kube"
)

// within bounds what a test waits for, on a busy machine.
const within = time.Minute

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	t.Cleanup(cancel)
	return ctx
}

func first(sessionID string) driver.Ref { return driver.Ref{SessionID: sessionID, Generation: 1} }

// lasting is a session that stays.
func lasting(sessionID string) driver.Spec { return shell(first(sessionID), "sleep", "100000") }

// fails starts what cannot start, checks the error, and that nothing is left.
func (p place) fails(t *testing.T, d *kubernetes.Driver, spec driver.Spec, code models.ErrorCode, words ...string) {
	t.Helper()
	begun := time.Now()
	_, err := d.Start(limited(t), spec)
	if models.CodeOf(err) != code {
		t.Fatalf("the error is %v, want code %s", err, code)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error should say %q: %v", word, err)
		}
	}
	t.Logf("after %v: %v", time.Since(begun).Round(time.Millisecond), err)
	if pods, err := p.Admin.CoreV1().Pods(p.namespace).List(limited(t), meta.ListOptions{LabelSelector: "streamspace.io/session=" + spec.SessionID}); err != nil || len(pods.Items) > 0 {
		t.Errorf("there is left: %v, %v", pods.Items, err)
	}
}

// What never comes up says why, in words, with a code, and leaves nothing.
func TestReasons(t *testing.T) {
	p := newPlace(t, "reasons")
	d := p.open(t, kubernetes.Config{AgentID: "reasons", PlaceWithin: 4 * time.Second, ReadyWithin: 2 * time.Second})
	p.serveRegistry(t)
	image := func(spec driver.Spec, image string) driver.Spec {
		spec.Template.Spec.BaseImage = image
		return spec
	}
	wishing := func(spec driver.Spec, wishes models.KubernetesSpec) driver.Spec {
		spec.Template.Spec.Kubernetes = &wishes
		return spec
	}
	registry := fmt.Sprintf("%s:%d", p.Host(), kube.RegistryPort)
	huge := lasting("huge")
	huge.Resources = models.Resources{Memory: "1Ti"}
	silent := screen(first("silent"))
	silent.Template.Spec.VNC.Port = 5999
	for name, one := range map[string]struct {
		spec  driver.Spec
		code  models.ErrorCode
		words []string
	}{
		"an image that the registry does not have": {image(lasting("absent"), registry+"/absent:1"), models.CodeImageMissing, []string{"absent:1", "not found"}},
		"an image that may not be pulled":          {image(lasting("secret"), registry+"/secret:1"), models.CodeImageDenied, []string{"secret:1"}},
		"no name of an image":                      {image(lasting("noname"), "Not::An image"), models.CodeImageMissing, nil},
		"more memory than there is":                {huge, models.CodeUnschedulable, []string{"Insufficient memory"}},
		"a node that is not there":                 {wishing(lasting("nowhere"), models.KubernetesSpec{NodeSelector: map[string]string{"disk": "gold"}}), models.CodeUnschedulable, []string{"selector"}},
		"a runtime class that is not there":        {wishing(lasting("classy"), models.KubernetesSpec{RuntimeClassName: "gvisor"}), models.CodeCommandFailed, []string{"gvisor"}},
		"root where the namespace forbids it":      {wishing(lasting("rooted"), models.KubernetesSpec{RunAsRoot: true}), models.CodeCommandFailed, []string{"restricted"}},
		"a program that is not there":              {shell(first("nothing"), "/no/such/program"), models.CodeCommandFailed, []string{"/no/such/program"}},
		"a stream that does not come":              {silent, models.CodeCommandFailed, []string{"5999"}},
		"a GPU that no node has":                   {gpus(lasting("gpus")), models.CodeUnschedulable, []string{"nvidia.com/gpu"}},
	} {
		t.Run(name, func(t *testing.T) { p.fails(t, d, one.spec, one.code, one.words...) })
	}
}

func gpus(spec driver.Spec) driver.Spec {
	spec.Resources.GPUs = 1
	return spec
}

// serveRegistry is a registry that has no image, and one that it does not give.
func (p place) serveRegistry(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("%s:%d", p.Host(), kube.RegistryPort))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: within, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "secret") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // until it is closed
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
}

// A quota that is used up is told at once, and passes when room is made.
func TestQuota(t *testing.T) {
	p := newPlace(t, "quota")
	_, err := p.Admin.CoreV1().ResourceQuotas(p.namespace).Create(limited(t), &core.ResourceQuota{ObjectMeta: meta.ObjectMeta{Name: "small"},
		Spec: core.ResourceQuotaSpec{Hard: core.ResourceList{core.ResourcePods: resource.MustParse("1")}}}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d := p.open(t, kubernetes.Config{AgentID: "quota"})
	// Until the quota has been counted nothing is refused.
	eventually(t, "the quota counts", func() error {
		quota, err := p.Admin.CoreV1().ResourceQuotas(p.namespace).Get(limited(t), "small", meta.GetOptions{})
		if err == nil && len(quota.Status.Hard) == 0 {
			err = fmt.Errorf("it does not yet")
		}
		return err
	})
	if _, err := d.Start(limited(t), lasting("one")); err != nil {
		t.Fatal(err)
	}
	p.fails(t, d, lasting("two"), models.CodeQuotaExceeded, "exceeded quota: small")
	if err := d.Stop(limited(t), first("one")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is room", func() error {
		_, err := d.Start(limited(t), lasting("two"))
		return err
	})
}

// A volume whose directory is not there is never mounted, and that is told.
func TestVolumeThatWillNotMount(t *testing.T) {
	p := newPlace(t, "volume")
	d := p.open(t, kubernetes.Config{AgentID: "volume", StorageClass: "broken", PlaceWithin: 8 * time.Second})
	spec := lasting("homeless")
	spec.PersistentHome = true
	p.fails(t, d, spec, models.CodeVolumeFailed, "home")

	claims, err := p.Admin.CoreV1().PersistentVolumeClaims(p.namespace).List(limited(t), meta.ListOptions{})
	if err != nil || len(claims.Items) != 1 {
		t.Fatalf("the claims are %v, %v", claims.Items, err)
	}
	volume := kube.Volume("broken", "/nothing/is/here", &claims.Items[0])
	if _, err := p.Admin.CoreV1().PersistentVolumes().Create(limited(t), volume, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p.fails(t, d, spec, models.CodeVolumeFailed, "/nothing/is/here")
}

// A pod that is evicted is lost, also when nobody watched, and is told once.
func TestEviction(t *testing.T) {
	p := newPlace(t, "eviction")
	d := p.open(t, kubernetes.Config{AgentID: "eviction"})
	evict := func(sessionID string) {
		t.Helper()
		started, err := d.Start(limited(t), lasting(sessionID))
		if err != nil {
			t.Fatal(err)
		}
		err = p.Admin.CoreV1().Pods(p.namespace).EvictV1(limited(t), &policy.Eviction{ObjectMeta: meta.ObjectMeta{Name: started.Metadata["pod"].(string), Namespace: p.namespace}})
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	exits, err := d.Exits(ctx)
	if err != nil {
		t.Fatal(err)
	}
	evict("watched")
	wantLost(t, exits, "watched")
	cancel()
	for range exits {
		t.Error("an exit is told again")
	}

	evict("unwatched")
	eventually(t, "the pod is gone", func() error {
		pods, err := p.Admin.CoreV1().Pods(p.namespace).List(limited(t), meta.ListOptions{})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("there are %d", len(pods.Items))
		}
		return err
	})
	again := p.open(t, kubernetes.Config{AgentID: "eviction"})
	if exits, err = again.Exits(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLost(t, exits, "unwatched")
	// It is over, and is not begun again in this generation.
	eventually(t, "a late start is refused", func() error {
		_, err := again.Start(limited(t), lasting("unwatched"))
		if models.CodeOf(err) != models.CodeRuntimeExited {
			return fmt.Errorf("the error is %v", err)
		}
		return nil
	})
}

func wantLost(t *testing.T, exits <-chan driver.Exit, sessionID string) {
	t.Helper()
	select {
	case exit := <-exits:
		if exit.Ref != first(sessionID) || !exit.Lost || exit.Reason == "" {
			t.Errorf("the exit is %+v", exit)
		}
	case <-time.After(within):
		t.Fatal("there is no exit")
	}
}

// A program that does not mind being told to end is killed when its time is up.
func TestDeafProgram(t *testing.T) {
	p := newPlace(t, "deaf")
	d := p.open(t, kubernetes.Config{AgentID: "deaf"})
	if _, err := d.Start(limited(t), shell(first("deaf"), "sh", "-c", "trap '' TERM; while :; do sleep 1000; done")); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := d.Stop(limited(t), first("deaf")); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > within/3 {
		t.Errorf("the stop took %v", took)
	}
	if left := p.left(t, "deaf", "deaf"); len(left) > 0 {
		t.Errorf("there is left: %v", left)
	}
}

// While the API is away streams of pods that are dialled go on, the inventory is
// what it was, and starts fail; afterwards everything works, and what ended
// meanwhile is told.
func TestAPIAway(t *testing.T) {
	p := newPlace(t, "away")
	d := p.open(t, kubernetes.Config{AgentID: "away", Direct: true})
	exits, err := d.Exits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Start(limited(t), screen(first("desk"))); err != nil {
		t.Fatal(err)
	}
	brief, err := d.Start(limited(t), lasting("brief"))
	if err != nil {
		t.Fatal(err)
	}
	p.StopAPI()
	back := false
	restart := func() {
		if !back {
			back = true
			if err := p.StartAPI(); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(restart)
	p.kill(t, brief.Metadata["pod"].(string))
	if inventory, err := d.Inventory(limited(t)); err != nil || len(inventory) != 2 {
		t.Errorf("the inventory is %v, %v", inventory, err)
	}
	conn, err := d.Dial(limited(t), first("desk"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	greeting := make([]byte, 3)
	if _, err := conn.Read(greeting); err != nil || string(greeting) != "RFB" {
		t.Errorf("the stream begins with %q, %v", greeting, err)
	}
	if _, err := d.Start(limited(t), lasting("late")); models.CodeOf(err) != models.CodeUnavailable {
		t.Errorf("the error is %v", err)
	}
	restart()
	select {
	case exit := <-exits:
		if exit.Ref != first("brief") || exit.Clean {
			t.Errorf("the exit is %+v", exit)
		}
	case <-time.After(within):
		t.Fatal("there is no exit")
	}
	eventually(t, "a session is started", func() error {
		_, err := d.Start(limited(t), lasting("late"))
		return err
	})
}

func eventually(t *testing.T, what string, probe func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := probe()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// What a template's text says is what the container gets: Kubernetes' own
// references in it stand for nothing.
func TestTextIsLiteral(t *testing.T) {
	p := newPlace(t, "literal")
	d := p.open(t, kubernetes.Config{AgentID: "literal"})
	spec := shell(first("text"), "sh", "-c", `echo "<$TEXT>"; echo '<$(HOME) $$>'; exec sleep 100000`)
	spec.Template.Spec.Env = []models.EnvVar{{Name: "TEXT", Value: "$(HOME) $$ $HOME $"}}
	if _, err := d.Start(limited(t), spec); err != nil {
		t.Fatal(err)
	}
	conn, err := d.Dial(limited(t), first("text"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for buffer := make([]byte, 1024); strings.Count(said.String(), ">") < 2; {
		n, err := conn.Read(buffer)
		said.Write(buffer[:n])
		if err != nil {
			t.Fatalf("the session says %q: %v", said.String(), err)
		}
	}
	for _, want := range []string{"<$(HOME) $$ $HOME $>", "<$(HOME) $$>"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("the session says %q, without %q", said.String(), want)
		}
	}
}
