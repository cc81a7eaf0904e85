package models

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Strategy is what the load of agents means to the choice between them.
type Strategy string

// The strategies. The empty one is StrategyLeastLoaded.
const (
	// StrategyLeastLoaded prefers the agents with the fewest sessions.
	StrategyLeastLoaded Strategy = "least-loaded"
	// StrategyBinPack prefers the agents that are fullest afterwards, so that
	// others stay empty.
	StrategyBinPack Strategy = "bin-pack"
)

// Spread is over what the sessions of the whole fleet are to be even.
type Spread string

// What sessions can be spread over. The empty one spreads over nothing.
const (
	SpreadRegion  Spread = "region"
	SpreadCluster Spread = "cluster"
)

// Preferences are what makes one of the agents that can take a session better
// than another. They never keep a session from being placed. The zero value
// prefers the fewest sessions.
type Preferences struct {
	// Regions and Clusters are those that are liked, each as well as another.
	Regions  []string `json:"regions,omitempty"`
	Clusters []string `json:"clusters,omitempty"`
	// Strategy is least-loaded by default.
	Strategy Strategy `json:"strategy,omitempty"`
	// SpreadOver prefers the regions or clusters with fewer sessions.
	SpreadOver Spread `json:"spreadOver,omitempty"`
	// HomeAgent is the agent that has the user's persistent home.
	HomeAgent string `json:"homeAgent,omitempty"`
	// HomeStore is the home store of that agent: whoever shares it has the home
	// too. Empty is none.
	HomeStore string `json:"homeStore,omitempty"`
	// Image is a container image; agents that hold it start faster. It is the
	// template's when empty.
	Image string `json:"image,omitempty"`
}

// The limits of what preferences may hold, in entries and characters.
const (
	maxPreferred = 32
	maxPlaceName = 100
	maxImageName = 512
)

// Validate checks the preferences: known words, at most 32 regions and as many
// clusters, names of at most 100 characters, an image of at most 512, none of
// them with control characters. Errors have CodeInvalidRequest.
func (p Preferences) Validate() error {
	for _, list := range []struct {
		what  string
		names []string
	}{{"region", p.Regions}, {"cluster", p.Clusters}} {
		if len(list.names) > maxPreferred {
			return Errorf(CodeInvalidRequest, "the preferences name %d %ss; keep at most %d", len(list.names), list.what, maxPreferred)
		}
		for _, name := range list.names {
			if name == "" {
				return Errorf(CodeInvalidRequest, "the preferences name a %s that is empty; leave it out", list.what)
			}
			if err := validatePreferred(list.what, name, maxPlaceName); err != nil {
				return err
			}
		}
	}
	if !slices.Contains([]Strategy{"", StrategyLeastLoaded, StrategyBinPack}, p.Strategy) {
		return Errorf(CodeInvalidRequest, "the strategy %q is not known; use %s or %s", clip(string(p.Strategy)), StrategyLeastLoaded, StrategyBinPack)
	}
	if !slices.Contains([]Spread{"", SpreadRegion, SpreadCluster}, p.SpreadOver) {
		return Errorf(CodeInvalidRequest, "sessions cannot be spread over %q; use %s or %s", clip(string(p.SpreadOver)), SpreadRegion, SpreadCluster)
	}
	for what, name := range map[string]string{"home agent": p.HomeAgent, "home store": p.HomeStore} {
		if err := validatePreferred(what, name, maxPlaceName); err != nil {
			return err
		}
	}
	return validatePreferred("image", p.Image, maxImageName)
}

// Homes tells whether the agent has the persistent home that is preferred.
func (p Preferences) Homes(agent Agent) bool {
	return agent.ID == p.HomeAgent || p.HomeStore != "" && agent.HomeStore == p.HomeStore
}

func validatePreferred(what, name string, most int) error {
	if !utf8.ValidString(name) || utf8.RuneCountInString(name) > most || strings.ContainsFunc(name, unicode.IsControl) {
		return Errorf(CodeInvalidRequest, "the preferred %s must be at most %d characters, without control characters", what, most)
	}
	return nil
}
