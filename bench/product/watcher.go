package product

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
)

// settleWithin bounds the wait for a session to run or to end.
const settleWithin = 60 * time.Second

// Watcher follows all sessions by the API's events, as the console does: that
// is the soonest that a client learns of a change. Safe for concurrent use.
type Watcher struct {
	api *client.Client

	cancel context.CancelFunc
	// done is closed when following is over, err then says why.
	done chan struct{}
	err  error

	mu       sync.Mutex
	sessions map[string]client.Session
	changed  chan struct{}
}

// Watch begins to follow; it returns when the first events are there.
func Watch(ctx context.Context, api *client.Client) (*Watcher, error) {
	ctx, cancel := context.WithCancel(ctx)
	w := &Watcher{api: api, cancel: cancel, done: make(chan struct{}),
		sessions: map[string]client.Session{}, changed: make(chan struct{})}
	_, first := w.session("")
	go func() {
		defer close(w.done)
		w.err = api.Watch(ctx, func(change client.Change) error {
			w.take(change)
			return nil
		})
	}()
	select {
	case <-first:
		return w, nil
	case <-w.done:
		cancel()
		return nil, fmt.Errorf("watch the sessions: %w", w.err)
	}
}

// Close ends the following and waits for its end.
func (w *Watcher) Close() {
	w.cancel()
	<-w.done
}

func (w *Watcher) take(change client.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, session := range change.Snapshot {
		w.sessions[session.ID] = session
	}
	if change.Session != nil {
		w.sessions[change.Session.ID] = *change.Session
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// session gives the session as it is known, and what the next change closes.
func (w *Watcher) session(id string) (client.Session, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sessions[id], w.changed
}

// Launch launches a session of the template and waits until it runs.
func (w *Watcher) Launch(ctx context.Context, template string) (client.Session, error) {
	session, err := w.api.Launch(ctx, client.LaunchRequest{Template: template})
	if err != nil {
		return client.Session{}, fmt.Errorf("launch %s: %w", template, err)
	}
	return w.await(ctx, session.ID, models.SessionRunning)
}

// Stop stops a session and waits until it has ended.
func (w *Watcher) Stop(ctx context.Context, id string) error {
	if _, err := w.api.Stop(ctx, id); err != nil {
		return fmt.Errorf("stop session %s: %w", id, err)
	}
	_, err := w.await(ctx, id, models.SessionTerminated)
	return err
}

// await waits until the session is in the state, or in one that it cannot get
// there from.
func (w *Watcher) await(ctx context.Context, id string, wanted models.SessionState) (client.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	for {
		session, more := w.session(id)
		switch {
		case session.State == wanted:
			return session, nil
		case session.State.Terminal():
			return session, fmt.Errorf("session %s is %s: %s", id, session.State, session.Reason)
		}
		select {
		case <-more:
		case <-w.done:
			return session, fmt.Errorf("watch the sessions: %w", w.err)
		case <-ctx.Done():
			return session, fmt.Errorf("session %s is not %s but %q: %w", id, wanted, session.State, ctx.Err())
		}
	}
}
