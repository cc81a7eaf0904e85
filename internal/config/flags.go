package config

import "github.com/spf13/pflag"

// Bind adds the flags.
func (s *Server) Bind(flags *pflag.FlagSet) {
	flags.StringVar(&s.DataDir, "data-dir", s.DataDir, "directory of the database, the admin's token and your templates")
	flags.StringVar(&s.Listen, "listen", s.Listen, "address to serve on; port 0 takes a free one")
	flags.StringVar(&s.Database, "database", s.Database, "postgres://… or sqlite:PATH (default streamspace.db in the data directory)")
	flags.StringVar(&s.Templates, "templates", s.Templates, "directory of your own templates (default templates in the data directory)")
	flags.StringVar(&s.PublicURL, "public-url", s.PublicURL, "where users reach this server, when not at the listen address, e.g. behind a TLS proxy")
	flags.StringVar(&s.SessionHosts, "session-host-pattern", s.SessionHosts, "host names at which sessions show their pages, e.g. *.sessions.example.org; none shows them on the console's own (default *.sessions.localhost for browsers on this machine)")
	flags.IntVar(&s.Workers, "workers", s.Workers, "how many workers send commands to agents")
	flags.IntVar(&s.Queue, "queue", s.Queue, "how many commands may wait in memory for a worker")
	flags.DurationVar(&s.ReconcileEvery, "reconcile-every", s.ReconcileEvery, "time between two looks at sessions that are stuck")
	flags.DurationVar(&s.StuckAfter, "stuck-after", s.StuckAfter, "how long a session may be starting, ending, hibernating or waking before its agent is asked again")
	flags.DurationVar(&s.AgentGoneAfter, "agent-gone-after", s.AgentGoneAfter, "silence after which an agent is taken for gone and its sessions are given up")
	flags.DurationVar(&s.KeepCommands, "keep-commands", s.KeepCommands, "how long commands that have ended, and why sessions were placed as they were, are kept")
	flags.StringToStringVar(&s.PlacementWeights, "placement-weights", nil, "how much each part of an agent's score counts, e.g. load=1,home=10; what is left out keeps its default")
	flags.DurationVar(&s.TicketLife, "ticket-life", s.TicketLife, "how long a ticket for a stream is valid, at most 1m")
	flags.DurationVar(&s.StopWithin, "stop-within", s.StopWithin, "how long an orderly stop may take")
	s.Log.Bind(flags)
}

// Bind adds the flags.
func (u *Up) Bind(flags *pflag.FlagSet) {
	u.Server.Bind(flags)
	flags.IntVar(&u.MaxSessions, "max-sessions", u.MaxSessions, "most sessions at one time on this machine; 0 is no limit")
	flags.StringVar(&u.Docker, "docker", u.Docker, "the Docker engine whose containers can be sessions, too: auto looks for one on this machine, off does not, or its address")
	flags.StringVar(&u.Region, "region", u.Region, "region of this machine")
	bindHomeStore(flags, &u.HomeStore)
	bindPlacement(flags, &u.Labels, &u.Allocatable)
}

// Bind adds the flags.
func (a *Agent) Bind(flags *pflag.FlagSet) {
	flags.StringVar(&a.Server, "server", a.Server, "the control plane's address")
	flags.StringVar(&a.ID, "id", a.ID, "the agent's name, for which its key was made")
	flags.StringVar(&a.KeyFile, "key-file", a.KeyFile, "file that holds the agent's key; "+EnvAgentKey+" may hold the key itself")
	flags.StringVar(&a.DataDir, "data-dir", a.DataDir, "directory of the journal and the sessions")
	flags.StringVar(&a.Region, "region", a.Region, "region of this machine")
	flags.StringVar(&a.Platform, "platform", a.Platform, "what sessions are: process, programs of this machine; docker, containers of its engine; or kubernetes, pods of a cluster")
	flags.StringVar(&a.DockerHost, "docker-host", a.DockerHost, "the Docker engine's address, e.g. unix:///run/docker.sock (default $DOCKER_HOST, or else the usual socket)")
	flags.StringVar(&a.DockerConfig, "docker-config", a.DockerConfig, "directory of the config.json with credentials for registries (default $DOCKER_CONFIG, or else ~/.docker)")
	flags.StringVar(&a.Kubernetes.Kubeconfig, "kubeconfig", a.Kubernetes.Kubeconfig, "file that says where the Kubernetes cluster is (default the cluster that the agent runs in, or else the usual file)")
	flags.StringVar(&a.Kubernetes.Namespace, "namespace", a.Kubernetes.Namespace, "namespace of the sessions' pods (default the agent's own, or the kubeconfig's)")
	flags.StringVar(&a.Kubernetes.StorageClass, "storage-class", a.Kubernetes.StorageClass, "storage class of persistent homes (default the cluster's)")
	flags.StringVar(&a.Kubernetes.HomeSize, "home-size", a.Kubernetes.HomeSize, "how much a persistent home holds, unless its template says so")
	flags.StringVar(&a.Kubernetes.Replica, "replica", a.Kubernetes.Replica, "this agent's name among several of the same id on Kubernetes, of which one works and the others wait, e.g. that of its pod")
	flags.StringVar(&a.ClusterID, "cluster-id", a.ClusterID, "cluster that this machine belongs to")
	flags.StringVar(&a.ClusterName, "cluster-name", a.ClusterName, "the cluster's name for people")
	bindHomeStore(flags, &a.HomeStore)
	flags.IntVar(&a.MaxSessions, "max-sessions", a.MaxSessions, "most sessions at one time on this machine; 0 is no limit")
	bindPlacement(flags, &a.Labels, &a.Allocatable)
	a.Log.Bind(flags)
	Prefix(flags, "agent", "id", "key-file", "data-dir")
}

func bindHomeStore(flags *pflag.FlagSet, store *string) {
	flags.StringVar(store, "home-store", *store, "name of the shared storage that the agent's persistent homes are on; agents that name the same have the same homes")
}

// bindPlacement adds the flags of what sessions are placed by.
func bindPlacement(flags *pflag.FlagSet, labels, allocatable *map[string]string) {
	flags.StringToStringVar(labels, "label", nil, "labels of this machine that sessions can ask for, e.g. disk=ssd,zone=a")
	flags.StringToStringVar(allocatable, "allocatable", nil, "what sessions may have together, e.g. cpu=6,memory=12Gi,gpus=1; what is left out is not limited")
}

// Bind adds the flags.
func (m *Migrate) Bind(flags *pflag.FlagSet) {
	flags.StringVar(&m.DataDir, "data-dir", m.DataDir, "directory of the database")
	flags.StringVar(&m.Database, "database", m.Database, "postgres://… or sqlite:PATH (default streamspace.db in the data directory)")
	m.Log.Bind(flags)
}

// Bind adds the flags.
func (c *Client) Bind(flags *pflag.FlagSet) {
	flags.StringVar(&c.Server, "server", c.Server, "the control plane's address")
	flags.StringVar(&c.DataDir, "data-dir", c.DataDir, "the server's data directory, to find the admin's token in")
	flags.StringVar(&c.TokenFile, "token-file", c.TokenFile, "file that holds the token (default admin.token in the data directory); "+EnvToken+" may hold the token itself")
	flags.StringVarP(&c.Output, "output", "o", c.Output, "table, for people, or json, for programs")
}

// Bind adds the flags.
func (l *Log) Bind(flags *pflag.FlagSet) {
	flags.StringVar(&l.Level, "log-level", l.Level, "debug, info, warn or error")
	flags.StringVar(&l.Format, "log-format", l.Format, "text or json")
}
