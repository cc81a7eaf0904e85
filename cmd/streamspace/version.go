package main

import (
	"runtime"
	"runtime/debug"

	"github.com/streamspace/streamspace/internal/cli"
)

// buildVersion gives what the linker was told, or else what the Go tool noted.
func buildVersion(linked string) cli.Version {
	built := cli.Version{Version: linked, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	if built.Version == "" {
		built.Version = info.Main.Version
	}
	if built.Version == "" || built.Version == "(devel)" {
		built.Version = "dev"
	}
	changed := false
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			built.Commit = setting.Value[:min(12, len(setting.Value))]
		case "vcs.time":
			built.Date = setting.Value
		case "vcs.modified":
			changed = setting.Value == "true"
		}
	}
	if changed && built.Commit != "" {
		built.Commit += "+changes"
	}
	return built
}
