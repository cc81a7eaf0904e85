package processes

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

const (
	reapWithin = 10 * time.Second
	reapEvery  = 20 * time.Millisecond
)

// Reap kills every process but this one that mentions dir, and waits until
// there is none. Sessions outlive the program that runs them on purpose; dir
// must be a directory that nobody else uses.
func Reap(dir string) error {
	deadline := time.Now().Add(reapWithin)
	for {
		var left []int
		for _, process := range List() {
			if process.PID != os.Getpid() && process.Mentions(dir) {
				left = append(left, process.PID)
				_ = syscall.Kill(process.PID, syscall.SIGKILL) // it may have ended
			}
		}
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end", left)
		}
		<-time.After(reapEvery)
	}
}
