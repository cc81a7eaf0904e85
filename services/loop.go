package services

import (
	"sync"
	"time"
)

// loop is the life of something that looks again and again: it is run once, and
// stopped once, in whatever order.
type loop struct {
	stopping chan struct{}
	stopOnce sync.Once
	running  sync.WaitGroup
	mu       sync.Mutex
	begun    bool
}

func newLoop() *loop { return &loop{stopping: make(chan struct{})} }

// run does the work, which is to end soon after stop. When it was run or stopped
// before it only waits until both are over.
func (l *loop) run(work func()) {
	l.mu.Lock()
	first := !l.begun
	if first {
		l.begun = true
		l.running.Add(1)
	}
	l.mu.Unlock()
	if !first {
		<-l.stopping
		l.running.Wait()
		return
	}
	defer l.running.Done()
	work()
}

// stop ends the work and waits for it.
func (l *loop) stop() {
	l.mu.Lock()
	l.begun = true
	l.mu.Unlock()
	l.stopOnce.Do(func() { close(l.stopping) })
	l.running.Wait()
}

func (l *loop) isStopped() bool {
	select {
	case <-l.stopping:
		return true
	default:
		return false
	}
}

// pause waits, for less when early comes, and gives false when the loop stops.
func (l *loop) pause(duration time.Duration, early <-chan struct{}) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-early:
	case <-l.stopping:
		return false
	}
	return true
}
