package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/streamspace/streamspace/internal/config"
)

func environment(variables map[string]string) config.Lookup {
	return func(name string) (string, bool) {
		value, set := variables[name]
		return value, set
	}
}

func TestFlagWinsOverEnvironmentWinsOverDefault(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		env  map[string]string
		want string
	}{
		"default":             {want: "127.0.0.1:8080"},
		"environment":         {env: map[string]string{"STREAMSPACE_LISTEN": ":1"}, want: ":1"},
		"flag":                {args: []string{"--listen", ":2"}, want: ":2"},
		"both":                {args: []string{"--listen", ":2"}, env: map[string]string{"STREAMSPACE_LISTEN": ":1"}, want: ":2"},
		"flag as the default": {args: []string{"--listen", "127.0.0.1:8080"}, env: map[string]string{"STREAMSPACE_LISTEN": ":1"}, want: "127.0.0.1:8080"},
		"empty variable":      {env: map[string]string{"STREAMSPACE_LISTEN": ""}, want: "127.0.0.1:8080"},
		"another's variable":  {env: map[string]string{"LISTEN": ":1"}, want: "127.0.0.1:8080"},
	} {
		t.Run(name, func(t *testing.T) {
			server := config.NewServer()
			flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
			server.Bind(flags)
			if err := flags.Parse(test.args); err != nil {
				t.Fatal(err)
			}
			if err := config.FromEnvironment(flags, environment(test.env)); err != nil {
				t.Fatal(err)
			}
			if server.Listen != test.want {
				t.Errorf("Listen = %q, want %q", server.Listen, test.want)
			}
		})
	}
}

// Every flag must be reachable from the environment, so each one of them is
// set that way and compared.
func TestEveryFlagHasAVariable(t *testing.T) {
	server, up, agent, client, migrate := config.NewServer(), config.NewUp(), config.NewAgent(), config.NewClient(), config.NewMigrate()
	for name, bind := range map[string]func(*pflag.FlagSet){
		"server": server.Bind, "up": up.Bind, "agent": agent.Bind, "client": client.Bind, "migrate": migrate.Bind,
	} {
		t.Run(name, func(t *testing.T) {
			flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
			bind(flags)
			variables, want := map[string]string{}, map[string]string{}
			flags.VisitAll(func(flag *pflag.Flag) {
				value := "text"
				switch flag.Value.Type() {
				case "int":
					value = "7"
				case "duration":
					value = "42s"
				case "bool":
					value = "true"
				case "stringToString":
					value = "key=text"
				}
				if _, taken := variables[config.Environment(flag)]; taken {
					t.Errorf("two flags have %s", config.Environment(flag))
				}
				variables[config.Environment(flag)] = value
				want[flag.Name] = value
			})
			if err := config.FromEnvironment(flags, environment(variables)); err != nil {
				t.Fatal(err)
			}
			flags.VisitAll(func(flag *pflag.Flag) {
				if strings.Trim(flag.Value.String(), "[]") != want[flag.Name] {
					t.Errorf("--%s = %q from %s, want %q", flag.Name, flag.Value, config.Environment(flag), want[flag.Name])
				}
			})
			config.Describe(flags)
			flags.VisitAll(func(flag *pflag.Flag) {
				if !strings.Contains(flag.Usage, "$"+config.Environment(flag)) {
					t.Errorf("the help of --%s does not name its variable: %s", flag.Name, flag.Usage)
				}
			})
		})
	}
	if agent.ID != "text" || server.Queue != 7 || server.TicketLife != 42*time.Second || !strings.Contains(up.TemplatesDir(), "text") {
		t.Errorf("the flags do not set the configuration: %+v %+v %+v", agent, server, up)
	}
}

func TestWrongVariableIsNamed(t *testing.T) {
	server := config.NewServer()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	server.Bind(flags)
	err := config.FromEnvironment(flags, environment(map[string]string{"STREAMSPACE_WORKERS": "many"}))
	if err == nil || !strings.Contains(err.Error(), "STREAMSPACE_WORKERS") {
		t.Errorf("the error does not name the variable: %v", err)
	}
}

func TestDefaultsAreValid(t *testing.T) {
	agent := config.NewAgent()
	agent.Key = "key"
	for name, err := range map[string]error{
		"server": config.NewServer().Validate(), "up": config.NewUp().Validate(), "agent": agent.Validate(),
		"client": config.NewClient().Validate(), "migrate": config.NewMigrate().Validate(),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if config.NewServer().Listen != "127.0.0.1:8080" {
		t.Error("the server must listen on loopback unless told otherwise")
	}
}

func TestMistakesNameTheFlag(t *testing.T) {
	for flag, change := range map[string]func(*config.Up){
		"--data-dir":         func(up *config.Up) { up.DataDir = "" },
		"--listen":           func(up *config.Up) { up.Listen = "8080" },
		"--public-url":       func(up *config.Up) { up.PublicURL = "streamspace.example.org" },
		"--workers":          func(up *config.Up) { up.Workers = 0 },
		"--queue":            func(up *config.Up) { up.Queue = -1 },
		"--ticket-life":      func(up *config.Up) { up.TicketLife = time.Hour },
		"--reconcile-every":  func(up *config.Up) { up.ReconcileEvery = 0 },
		"--stuck-after":      func(up *config.Up) { up.StuckAfter = 48 * time.Hour },
		"--agent-gone-after": func(up *config.Up) { up.AgentGoneAfter = -1 },
		"--stop-within":      func(up *config.Up) { up.StopWithin = 0 },
		"--log-level":        func(up *config.Up) { up.Log.Level = "loud" },
		"--log-format":       func(up *config.Up) { up.Log.Format = "xml" },
		"--max-sessions":     func(up *config.Up) { up.MaxSessions = -1 },
	} {
		up := config.NewUp()
		change(&up)
		if err := up.Validate(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("the error about %s is %v", flag, err)
		}
	}
	for said, change := range map[string]func(*config.Agent){
		"--server":               func(agent *config.Agent) { agent.Server = "example.org:80" },
		"--id":                   func(agent *config.Agent) { agent.ID = "has space" },
		"--platform":             func(agent *config.Agent) { agent.Platform = "podman" },
		"streamspace agents key": func(agent *config.Agent) { agent.Key = "" },
	} {
		agent := config.NewAgent()
		agent.Key = "key"
		change(&agent)
		if err := agent.Validate(); err == nil || !strings.Contains(err.Error(), said) {
			t.Errorf("the error about %s is %v", said, err)
		}
	}
}

func TestDefaultDataDir(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"XDG_DATA_HOME": "/x", "HOME": "/h"}, "/x/streamspace"},
		{map[string]string{"XDG_DATA_HOME": "relative", "HOME": "/h"}, "/h/.local/share/streamspace"},
		{map[string]string{"HOME": "/h"}, "/h/.local/share/streamspace"},
		{nil, "data"},
	} {
		if got := config.DefaultDataDir(environment(test.env)); got != test.want {
			t.Errorf("DefaultDataDir(%v) = %q, want %q", test.env, got, test.want)
		}
	}
}

func TestClientSecret(t *testing.T) {
	dir := t.TempDir()
	client := config.NewClient()
	client.DataDir = dir
	path := filepath.Join(dir, "admin.token")

	if _, _, err := client.Secret(); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "STREAMSPACE_TOKEN") {
		t.Errorf("the error must say where the token was looked for and how to give it: %v", err)
	}
	if err := os.WriteFile(path, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if token, source, err := client.Secret(); token != "secret" || source != path || err != nil {
		t.Errorf("Secret() = %q, %q, %v", token, source, err)
	}
	client.Token = "given"
	if token, source, err := client.Secret(); token != "given" || source != config.EnvToken || err != nil {
		t.Errorf("Secret() = %q, %q, %v", token, source, err)
	}
}

func TestAgentSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	agent := config.NewAgent()
	agent.KeyFile = path
	if _, err := agent.Secret(); err == nil || !strings.Contains(err.Error(), "--key-file") {
		t.Errorf("the error must name the flag: %v", err)
	}
	if err := os.WriteFile(path, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := agent.Secret(); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("an empty file must be an error: %v", err)
	}
	if err := os.WriteFile(path, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if key, err := agent.Secret(); key != "secret" || err != nil {
		t.Errorf("Secret() = %q, %v", key, err)
	}
}
