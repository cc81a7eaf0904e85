package process

import (
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/streamspace/streamspace/models"
)

// screenServer is what every session with a screen needs.
var screenServer = models.Need{Command: "Xvnc", Install: "apt-get install tigervnc-standalone-server"}

// look finds a command in path, as a shell would.
func look(path, command string) (found string, ok bool) {
	if strings.Contains(command, "/") {
		found, err := exec.LookPath(command)
		return found, err == nil && filepath.IsAbs(found)
	}
	for _, dir := range filepath.SplitList(path) {
		// A relative directory would mean something else to each session.
		if found, err := exec.LookPath(filepath.Join(dir, command)); err == nil && filepath.IsAbs(found) {
			return found, true
		}
	}
	return "", false
}

// missing checks that the machine has what the template needs.
func (d *Driver) missing(template models.Template, protocol models.Protocol) error {
	var needs []models.Need
	if template.Spec.Process != nil {
		needs = template.Spec.Process.Needs
	}
	named := func(command string) bool {
		for _, need := range needs {
			if need.Command == command {
				return true
			}
		}
		return false
	}
	if protocol == models.ProtocolVNC && !named(screenServer.Command) {
		needs = append([]models.Need{screenServer}, needs...)
	}
	var lacking, install []string
	for _, need := range needs {
		if _, ok := look(d.config.Path, need.Command); ok {
			continue
		}
		lacking = append(lacking, need.Command)
		if need.Install != "" {
			install = append(install, need.Install)
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	advice := "install it there"
	if len(install) > 0 {
		advice += ": " + strings.Join(install, "; ")
	}
	return models.Errorf(models.CodeNeedsMissing, "the agent's machine lacks %s; %s", strings.Join(lacking, ", "), advice)
}
