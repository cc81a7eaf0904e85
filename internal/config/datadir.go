package config

import (
	"os"
	"path/filepath"
	"strings"
)

// DefaultDataDir is $XDG_DATA_HOME/streamspace, or ~/.local/share/streamspace,
// or ./data for a user without a home.
func DefaultDataDir(lookup Lookup) string {
	if base, set := lookup("XDG_DATA_HOME"); set && filepath.IsAbs(base) {
		return filepath.Join(base, "streamspace")
	}
	if home, set := lookup("HOME"); set && home != "" {
		return filepath.Join(home, ".local", "share", "streamspace")
	}
	return "data"
}

func adminTokenFile(dataDir string) string { return filepath.Join(dataDir, "admin.token") }

// hostID makes an agent's id of the machine's name.
func hostID() string {
	name, err := os.Hostname()
	if err != nil {
		return "agent"
	}
	id := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '.', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, name)
	if id = strings.TrimLeft(id, "-._"); id == "" {
		return "agent"
	}
	return id
}
