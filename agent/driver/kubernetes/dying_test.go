package kubernetes_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/kubernetes"
)

// dying is the way to the API of an agent that is killed: it lets so many changes
// through, and with the next one nothing any more. The last one may be made without
// the agent's hearing of it.
type dying struct {
	through http.RoundTripper

	mu    sync.Mutex
	calls int
	lost  bool
	// died is closed when the agent is dead.
	died chan struct{}
	dead bool
}

var errDead = errors.New("the agent is dead")

// RoundTrip implements http.RoundTripper.
func (d *dying) RoundTrip(request *http.Request) (*http.Response, error) {
	last, err := d.count(request.Method != http.MethodGet)
	if err != nil {
		return nil, err
	}
	answer, err := d.through.RoundTrip(request)
	if err == nil && last {
		_ = answer.Body.Close()
		return nil, errDead
	}
	return answer, err
}

// count tells whether a request is the last one, of which nobody hears.
func (d *dying) count(change bool) (last bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if change && d.calls == 0 {
		d.die()
	}
	if d.dead {
		return false, errDead
	}
	if change {
		d.calls--
		if last = d.lost && d.calls == 0; last {
			d.die()
		}
	}
	return last, nil
}

// die is for holders of the lock.
func (d *dying) die() {
	if !d.dead {
		d.dead = true
		close(d.died)
	}
}

// mortal is the driver of an agent that dies: nothing goes on then.
type mortal struct {
	driver.Driver
	died <-chan struct{}
}

// Start implements driver.Driver.
func (m mortal) Start(ctx context.Context, spec driver.Spec) (driver.Runtime, error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-m.died:
		case <-ended:
		}
		cancel()
	})
	defer watching.Wait()
	defer close(ended)
	return m.Driver.Start(ctx, spec)
}

// dying opens a driver whose agent dies.
func (p place) dying(t *testing.T, agentID string, calls int, lost bool) driver.Driver {
	t.Helper()
	access, err := clientcmd.BuildConfigFromFlags("", p.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(access)
	if err != nil {
		t.Fatal(err)
	}
	api, err := url.Parse(access.Host)
	if err != nil {
		t.Fatal(err)
	}
	way := &dying{through: transport, calls: calls, lost: lost, died: make(chan struct{})}
	server := httptest.NewServer(&httputil.ReverseProxy{FlushInterval: -1, Transport: way,
		Rewrite:      func(request *httputil.ProxyRequest) { request.SetURL(api) },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }})
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: test, cluster: {server: %q}}]\ncontexts: [{name: test, context: {cluster: test}}]\ncurrent-context: test\n", server.URL)
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	p.kubeconfig = kubeconfig
	return mortal{p.open(t, kubernetes.Config{AgentID: agentID}), way.died}
}
