package drivertest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// A session that shows pages has started once it is healthy, and not before. Its
// stream is HTTP, and any number of connections lead to it.
func testPages(t *testing.T, b *bench) {
	if b.harness.Pages == nil {
		t.Skip("this driver has no pages")
	}
	started := b.start(t, b.harness.Pages(first("pages")))
	if started.Protocol != models.ProtocolHTTP {
		t.Errorf("the protocol is %q", started.Protocol)
	}
	b.wantPages(t, first("pages"), "")
	b.reopen(t)
	if again := b.start(t, b.harness.Pages(first("pages"))); again.StartedAt.Sub(started.StartedAt).Abs() > 0 {
		t.Errorf("it was started at %v, and again at %v", started.StartedAt, again.StartedAt)
	}
	b.start(t, b.harness.Pages(first("other")))
	var asking sync.WaitGroup
	for range 4 {
		for _, id := range []string{"pages", "other"} {
			asking.Go(func() { b.wantPages(t, first(id), "") })
		}
	}
	asking.Wait()
	b.stop(t, first("pages"))
	_, err := b.driver.Dial(limited(t), first("pages"))
	wantCode(t, err, models.CodeSessionNotRunning)
	b.wantNothing(t, "pages")
	b.wantPages(t, first("other"), "")

	// One that is told its prefix is healthy below it.
	below := b.harness.Pages(first("below"))
	below.Template.Spec.HTTP.PrefixEnv = "PREFIX"
	below.Template = below.Template.WithPagePrefix("below", "KEY")
	b.start(t, below)
	b.wantPages(t, first("below"), below.Template.PagePrefix())
}

// wantPages checks that the session's own program answers below the prefix that
// it has, and was healthy.
func (b *bench) wantPages(t *testing.T, ref driver.Ref, prefix string) {
	transport := &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return b.driver.Dial(ctx, ref) }}
	request, err := http.NewRequestWithContext(limited(t), http.MethodGet, "http://session.invalid"+prefix+"/name", nil)
	if err != nil {
		t.Error(err)
		return
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		t.Errorf("ask %v: %v", ref, err)
		return
	}
	defer func() { _ = answer.Body.Close() }()
	said, err := io.ReadAll(answer.Body)
	var name string
	var asked int
	if _, scanErr := fmt.Sscanf(string(said), "pages of %s after %d", &name, &asked); err != nil || scanErr != nil || name != ref.SessionID {
		t.Errorf("session %s says %q, %v", ref.SessionID, said, err)
	}
	if asked < 4 {
		t.Errorf("session %s was taken for ready after %d questions, and three were answered with no", ref.SessionID, asked)
	}
}
