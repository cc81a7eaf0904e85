package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/streamspace/streamspace/internal/config"
)

// docs/operations.md has a row for each flag, with its variable.
func TestOperationsPageHasTheFlags(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	up, agent, client, migrate := config.NewUp(), config.NewAgent(), config.NewClient(), config.NewMigrate()
	rows := map[string]bool{}
	for name, bind := range map[string]func(*pflag.FlagSet){"up": up.Bind, "agent": agent.Bind, "client": client.Bind, "migrate": migrate.Bind} {
		flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
		bind(flags)
		flags.VisitAll(func(flag *pflag.Flag) {
			row := "| `--" + flag.Name + "` | `" + config.Environment(flag) + "` |"
			rows[row] = true
			if !strings.Contains(string(page), "\n"+row) {
				t.Errorf("of %s docs/operations.md lacks %s", name, row)
			}
		})
	}
	if found := strings.Count(string(page), "\n| `--"); found != len(rows) {
		t.Errorf("docs/operations.md has %d rows of flags, and there are %d", found, len(rows))
	}
	for _, secret := range []string{config.EnvToken, config.EnvAgentKey} {
		if !strings.Contains(string(page), "`"+secret+"`") {
			t.Errorf("docs/operations.md lacks %s", secret)
		}
	}
}
