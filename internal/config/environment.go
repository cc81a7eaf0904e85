package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// envPrefix begins every environment variable.
const envPrefix = "STREAMSPACE_"

// The environment variables of secrets, which have no flag.
const (
	EnvToken    = envPrefix + "TOKEN"
	EnvAgentKey = envPrefix + "AGENT_KEY"
)

// Lookup reads one environment variable, as os.LookupEnv does.
type Lookup func(name string) (value string, set bool)

// annotation keeps, at a flag, the name of its environment variable when it is
// not the flag's own.
const annotation = "streamspace-env"

// Environment names the environment variable of a flag.
func Environment(flag *pflag.Flag) string {
	if names := flag.Annotations[annotation]; len(names) == 1 {
		return names[0]
	}
	return envPrefix + variable(flag.Name)
}

// Prefix names the variables of all flags of the set that have the usual name
// after a noun: prefix session makes --id STREAMSPACE_SESSION_ID. It keeps
// apart what different commands mean by the same flag.
func Prefix(flags *pflag.FlagSet, noun string, names ...string) {
	for _, name := range names {
		if flag := flags.Lookup(name); flag != nil {
			if flag.Annotations == nil {
				flag.Annotations = map[string][]string{}
			}
			flag.Annotations[annotation] = []string{envPrefix + variable(noun) + "_" + variable(name)}
		}
	}
}

// Describe adds the name of its environment variable to each flag's help.
func Describe(flags *pflag.FlagSet) {
	flags.VisitAll(func(flag *pflag.Flag) {
		if name := Environment(flag); flag.Name != "help" && !strings.Contains(flag.Usage, name) {
			flag.Usage += " [$" + name + "]"
		}
	})
}

// FromEnvironment sets those flags that the command line did not. An empty
// variable is one that is not set.
func FromEnvironment(flags *pflag.FlagSet, lookup Lookup) error {
	var problems []error
	flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Changed || flag.Name == "help" {
			return
		}
		name := Environment(flag)
		value, set := lookup(name)
		if !set || value == "" {
			return
		}
		if err := flags.Set(flag.Name, value); err != nil {
			problems = append(problems, fmt.Errorf("the environment variable %s: %w", name, err))
		}
	})
	return errors.Join(problems...)
}

func variable(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}
