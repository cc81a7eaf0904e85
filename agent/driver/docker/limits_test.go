package docker_test

import (
	"strings"
	"testing"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// What a session may is seen from inside, where programs meet it.
func TestLimitsAreSeenFromInside(t *testing.T) {
	e := need(t)
	sessions := e.world(t).Open(t)
	spec := shell(driver.Ref{SessionID: "bound", Generation: 1}, "sh", "-c", "while :; do sleep 1; done")
	spec.Resources = models.Resources{CPU: "500m", Memory: "64Mi"}
	spec.Template.Spec.Container.ShmSize, spec.Template.Spec.Container.ReadOnlyRoot = "32Mi", true
	runtime, err := sessions.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct{ script, want string }{
		"processor": {"cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max", "50000"},
		"memory":    {"cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max", "67108864"},
		"processes": {"cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max", "4096"},
		"shm":       {"df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d' ' -f2", "32768"},
		"root":      {"touch /file 2>&1 || echo no", "touch: /file: Read-only file system\nno"},
		"tmp":       {"touch /tmp/file && echo yes", "yes"},
		"home":      {"touch $HOME/file && echo yes", "yes"},
		"gains":     {"grep NoNewPrivs /proc/1/status | cut -f2", "1"},
		"filter":    {"grep Seccomp: /proc/1/status | cut -f2", "2"},
		// CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID and NET_BIND_SERVICE.
		"capabilities": {"grep CapEff /proc/1/status | cut -f2", "00000000000004eb"},
		"socket":       {"find / -name 'docker*.sock' 2>/dev/null | wc -l", "0"},
	} {
		got, err := e.Docker("exec", runtime.Metadata["container"].(string), "sh", "-c", test.script)
		if err != nil || strings.TrimSpace(got) != test.want {
			t.Errorf("%s: %q, %v; not %q", what, got, err, test.want)
		}
	}
	if err := sessions.Stop(t.Context(), spec.Ref); err != nil {
		t.Fatal(err)
	}
}
