package server

import (
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
)

// machineIDFile tells machines of one name apart (machine-id(5)).
const machineIDFile = "/etc/machine-id"

// replicaName names the control plane that has a data directory, which one at a
// time has: the same name whenever it starts again, and nobody else's.
func replicaName(dataDir string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "replica"
	}
	if absolute, err := filepath.Abs(dataDir); err == nil {
		dataDir = absolute
	}
	hash := fnv.New32a()
	machine, _ := os.ReadFile(machineIDFile) // where there is none, the host's name has to do
	_, _ = fmt.Fprintf(hash, "%s\n%s", machine, dataDir)
	return fmt.Sprintf("%s-%08x", host, hash.Sum32())
}
