package deploy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// project reads the Compose file as `docker compose` does.
func project(t *testing.T, environment ...string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"compose.yaml"}, cli.WithEnv(environment), cli.WithProfiles([]string{"agent"}))
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(t.Context())
}

func TestTheComposeFile(t *testing.T) {
	if _, err := project(t); err == nil || !strings.Contains(err.Error(), "choose the password") {
		t.Errorf("without a password it is read with %v", err)
	}
	read, err := project(t, "POSTGRES_PASSWORD=secret")
	if err != nil {
		t.Fatal(err)
	}
	names := read.ServiceNames()
	slices.Sort(names)
	if !slices.Equal(names, []string{"agent", "postgres", "server"}) {
		t.Fatalf("the services are %v", names)
	}
	server, agent, postgres := read.Services["server"], read.Services["agent"], read.Services["postgres"]
	if url := *server.Environment["STREAMSPACE_DATABASE"]; url != "postgres://streamspace:secret@postgres/streamspace?sslmode=disable" {
		t.Errorf("the server's database is %s", url)
	}
	if postgres.HealthCheck == nil || server.DependsOn["postgres"].Condition != types.ServiceConditionHealthy {
		t.Error("the server does not wait for its database")
	}
	// Without TLS nobody beyond this machine is to reach it.
	for _, port := range append(slices.Clone(server.Ports), postgres.Ports...) {
		if port.HostIP != "127.0.0.1" {
			t.Errorf("port %s is published at %q", port.Published, port.HostIP)
		}
	}
	if len(postgres.Ports) > 0 || !read.Networks["database"].Internal {
		t.Error("the database can be reached from outside")
	}
	for _, service := range []types.ServiceConfig{server, agent} {
		if !service.ReadOnly || !slices.Contains(service.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s can write where it need not, or gain rights", service.Name)
		}
	}
	if len(agent.Profiles) != 1 || len(agent.Secrets) != 1 || !strings.HasSuffix(read.Secrets["agent-key"].File, "/deploy/agent.key") {
		t.Errorf("the agent's key is %+v", read.Secrets)
	}
	for _, argument := range agent.Command {
		if strings.Contains(argument, "/run/secrets/") && argument != "/run/secrets/"+agent.Secrets[0].Source {
			t.Errorf("the agent looks for its key in %s", argument)
		}
	}
	if agent.NetworkMode != "host" || !slices.Contains(agent.Command, "http://127.0.0.1:8080") {
		t.Errorf("the agent reaches neither containers nor the server: %s, %v", agent.NetworkMode, agent.Command)
	}
}
