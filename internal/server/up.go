package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"time"

	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/internal/config"
	"github.com/streamspace/streamspace/models"
)

const (
	// localAgent is the id of the agent that runs in the same process.
	localAgent = "local"
	// connectWithin bounds the wait for the local agent's first connection.
	connectWithin = 30 * time.Second
	// loginPath is where login links lead.
	loginPath = "/login"
)

// Up runs the control plane and an agent in one process until ctx ends, and
// another agent if there is a Docker engine. Once
// everything is ready it prints a login link, alone on the last line. It starts
// the agent after the server and stops it first, so that the server records
// what the agent still has to say. Sessions go on without both.
func Up(ctx context.Context, configuration config.Up, version string, streams Streams) error {
	logger := configuration.Log.Logger(streams.Err)
	server, err := New(ctx, configuration.Server, version, logger)
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return errors.Join(err, server.Stop())
	}
	return errors.Join(server.runWithAgent(ctx, configuration, version, streams, logger), server.Stop())
}

// runWithAgent runs the local agent until ctx ends or something fails.
func (s *Server) runWithAgent(ctx context.Context, configuration config.Up, version string, streams Streams, logger *slog.Logger) error {
	key, err := keepSecret(ctx, s.auth, configuration.AgentKeyFile(), auth.Grant{
		Kind: models.TokenAgent, AgentID: localAgent, Label: "local agent",
	})
	if err != nil {
		return err
	}
	local, err := newMachineAgent(config.Agent{
		ID: localAgent, DataDir: configuration.AgentDir(), Region: configuration.Region, MaxSessions: configuration.MaxSessions,
		HomeStore: configuration.HomeStore, Labels: configuration.Labels, Allocatable: configuration.Allocatable,
	}, s.URL(), key, version, logger)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- local.Run(running) }()
	boxed := s.startContainers(running, configuration, version, logger)
	err = s.serveWithAgent(ctx, local, boxed, ended, streams)
	stop()
	<-boxed.ended
	if agentErr, open := <-ended; open && !errors.Is(agentErr, context.Canceled) {
		err = errors.Join(err, agentErr)
	}
	if count, countErr := local.sessions(context.WithoutCancel(ctx)); countErr == nil {
		tellRemaining(streams.Err, count+boxed.sessions(context.WithoutCancel(ctx)), "streamspace up")
	}
	return errors.Join(err, local.close(), boxed.close())
}

// serveWithAgent waits for the agent, prints the link, and waits for the end.
// When the agent has ended by itself it closes ended.
func (s *Server) serveWithAgent(ctx context.Context, local *machineAgent, boxed *containers, ended chan error, streams Streams) error {
	tooLate := time.NewTimer(connectWithin)
	defer tooLate.Stop()
	agentEnded := func(err error) error {
		close(ended)
		return fmt.Errorf("the local agent ended: %w", err)
	}
	select {
	case <-local.Ready():
	case <-ctx.Done():
		return nil
	case err := <-s.Failed():
		return err
	case err := <-ended:
		return agentEnded(err)
	case <-tooLate.C:
		return fmt.Errorf("the local agent did not connect to %s within %v; --log-level info shows why", s.URL(), connectWithin)
	}
	var found string
	select {
	case found = <-boxed.found:
	case <-ctx.Done():
		return nil
	}
	if err := s.greet(ctx, local, boxed, found, streams); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.Failed():
		return err
	case err := <-ended:
		return agentEnded(err)
	}
}

// greet says that all is ready. The login link is the last line and alone on
// it, so that programs find it.
func (s *Server) greet(ctx context.Context, local *machineAgent, boxed *containers, found string, streams Streams) error {
	warnExposed(s, streams.Err)
	secret, expires, err := s.auth.NewLoginLink(ctx, s.admin.ID)
	if err != nil {
		return err
	}
	count, err := local.sessions(ctx)
	if err != nil {
		return err
	}
	count += boxed.sessions(ctx)
	adopted := ""
	switch {
	case count == 1:
		adopted = " One session is still running from before."
	case count > 1:
		adopted = fmt.Sprintf(" %d sessions are still running from before.", count)
	}
	link := s.PublicURL().JoinPath(loginPath)
	link.RawQuery = url.Values{"token": {secret}}.Encode()
	if found != "" {
		found += "\n"
	}
	_, err = fmt.Fprintf(streams.Out, "StreamSpace is ready at %s.%s Ctrl-C stops it.\n%s"+
		"Open this link once, within %v, to sign in; `streamspace session open` makes more:\n\n%s\n",
		s.PublicURL(), adopted, found, time.Until(expires).Round(time.Minute), link)
	if err != nil {
		return fmt.Errorf("print the login link: %w", err)
	}
	return nil
}

// tellRemaining says what goes on after the end.
func tellRemaining(w io.Writer, count int, program string) {
	switch {
	case count == 1:
		_, _ = fmt.Fprintf(w, "One session keeps running; start %s again to have it back.\n", program)
	case count > 1:
		_, _ = fmt.Fprintf(w, "%d sessions keep running; start %s again to have them back.\n", count, program)
	}
}
