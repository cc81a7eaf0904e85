package machine_test

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/bench/machine"
)

func TestFacts(t *testing.T) {
	told := map[string]string{}
	for _, fact := range machine.Facts(t.Context(),
		machine.Program{Name: "marked", Command: []string{"sh", "-c", "echo; echo other; echo version 7; exit 1"}, Mark: "version"},
		machine.Program{Name: "first", Command: []string{"sh", "-c", "echo; echo one; echo two"}},
		machine.Program{Name: "absent", Command: []string{"/nonexistent/program"}},
	) {
		told[fact.Name] = fact.Value
	}
	for name, want := range map[string]string{
		"marked": "version 7", "first": "one", "absent": "unknown", "go": runtime.Version(),
	} {
		if told[name] != want {
			t.Errorf("%s is %q, want %q", name, told[name], want)
		}
	}
	for _, name := range []string{"processor", "cores", "memory", "system", "kernel", "load", "tcp"} {
		if told[name] == "" || told[name] == "unknown" {
			t.Errorf("%s is %q", name, told[name])
		}
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(told["kernel"], " "+host) || !strings.HasPrefix(told["kernel"], "Linux ") {
		t.Errorf("the kernel is %q", told["kernel"])
	}
}
