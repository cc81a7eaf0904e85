package kubernetes

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The terms of a lease. Another replica works within leaseLasts and two tries of
// when the one before was heard of last.
const (
	leaseLasts     = 6 * time.Second
	leaseRenewedBy = 4500 * time.Millisecond
	leaseTried     = time.Second
	// leaseMissed is how long a replica works on that cannot renew its lease, and
	// sees nobody else have it: most likely the API is away for everybody, and the
	// sessions are not.
	leaseMissed = 2 * time.Minute
)

// Lead runs work while this replica, of all with the same Config.AgentID in the
// namespace, is the one whose turn it is, again and again until ctx ends or work
// returns by itself. The context of work ends when another replica has taken over.
//
// Two may work for a moment, as when one was stopped and goes on later. That is as
// it is with an agent that connects twice: the control plane listens to the newer
// connection, and records of sessions keep a late start from having an effect.
func Lead(ctx context.Context, config Config, replica string, work func(context.Context) error) error {
	access, namespace, _, err := reach(config.Kubeconfig)
	if err != nil {
		return err
	}
	if config.Namespace != "" {
		namespace = config.Namespace
	}
	api, err := kubernetes.NewForConfig(access)
	if err != nil {
		return fmt.Errorf("the cluster's address: %w", err)
	}
	taken, lost, others := make(chan struct{}, 1), make(chan struct{}, 1), make(chan string, 1)
	tell := func(news chan struct{}) {
		select {
		case news <- struct{}{}:
		default: // it is known
		}
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta: meta.ObjectMeta{Namespace: namespace, Name: name("agent", config.AgentID)},
			Client:    api.CoordinationV1(), LockConfig: resourcelock.ResourceLockConfig{Identity: replica},
		},
		LeaseDuration: leaseLasts, RenewDeadline: leaseRenewedBy, RetryPeriod: leaseTried, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { tell(taken) },
			OnStoppedLeading: func() { tell(lost) },
			OnNewLeader: func(other string) {
				if other == "" || other == replica {
					return
				}
				select {
				case others <- other:
				case <-ctx.Done():
				}
			},
		},
	})
	if err != nil {
		return fmt.Errorf("agree with other replicas: %w", err)
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	electing, stop := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for electing.Err() == nil {
			elector.Run(electing)
		}
	}()
	defer func() {
		stop()
		<-over
	}()
	return term{config: config, replica: replica, taken: taken, lost: lost, others: others, work: work}.serve(ctx)
}

// term is what a replica knows of whose turn it is.
type term struct {
	config      Config
	replica     string
	taken, lost <-chan struct{}
	others      <-chan string
	work        func(context.Context) error
}

// serve works whenever it is this replica's turn.
func (t term) serve(ctx context.Context) error {
	for {
		t.config.Logger.Info("another replica works, this one waits", "replica", t.replica)
		for waiting := true; waiting; {
			select {
			case <-t.taken:
				waiting = false
			case <-t.lost:
			case <-t.others:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		t.config.Logger.Info("this replica works now", "replica", t.replica)
		if over, err := t.turn(ctx); over {
			return err
		}
	}
}

// turn works until it is another replica's turn; over tells that there is to be no
// other one.
func (t term) turn(ctx context.Context) (over bool, err error) {
	working, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- t.work(working) }()
	missed := time.NewTimer(leaseMissed)
	missed.Stop()
	for {
		select {
		case err := <-done:
			return true, err
		case <-t.taken:
			missed.Stop()
		case <-t.lost:
			missed.Reset(leaseMissed)
			continue
		case other := <-t.others:
			t.config.Logger.Warn("another replica has taken over", "replica", t.replica, "other", other)
			stop()
		case <-missed.C:
			t.config.Logger.Warn("whether another replica has taken over cannot be found out, this one waits", "replica", t.replica)
			stop()
		}
		if working.Err() != nil && ctx.Err() == nil {
			return false, <-done
		}
	}
}
