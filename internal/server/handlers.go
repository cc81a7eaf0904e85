package server

import (
	"net/http"
	"sync"
)

// handlers waits for requests, those too whose connection was taken over for
// a stream, which http.Server.Shutdown does not wait for.
type handlers struct {
	next http.Handler

	mu     sync.Mutex
	closed bool
	active sync.WaitGroup
}

// ServeHTTP implements http.Handler.
func (h *handlers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.enter() {
		w.Header().Set("Connection", "close")
		http.Error(w, "the server is stopping", http.StatusServiceUnavailable)
		return
	}
	defer h.active.Done()
	h.next.ServeHTTP(w, r)
}

func (h *handlers) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.active.Add(1)
	return true
}

// drain lets nothing more in and waits until everything is out.
func (h *handlers) drain() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.active.Wait()
}
