package robustness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamspace/streamspace/test/program"
)

const (
	// failpointPackage exists in the binary of these tests alone.
	failpointPackage = "github.com/streamspace/streamspace/internal/failpoint"
	// failpointSource is that package's only file.
	failpointSource = "test/robustness/testdata/failpoint/failpoint.go"
	// failpointsVariable names the directory that failpoints are armed in.
	failpointsVariable = "STREAMSPACE_FAILPOINTS"
)

var (
	marker        = regexp.MustCompile(`(?m)^(\s*)//failpoint:([a-z-]+)$`)
	packageClause = regexp.MustCompile(`(?m)^package \w+$`)
)

// building lets one test build what all of them use.
var building sync.Mutex

// failpointBinary gives the path of the program with its failpoints. It lies
// beside the program as people get it, and is removed with that.
func failpointBinary(t *testing.T) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	dir := filepath.Join(filepath.Dir(program.Binary(t)), "failpoints")
	binary := filepath.Join(dir, "streamspace")
	if _, err := os.Stat(binary); err == nil {
		return binary
	}
	if err := buildWithFailpoints(dir, binary); err != nil {
		t.Fatal(err)
	}
	return binary
}

// buildWithFailpoints turns each marker of the source into a call and builds
// that, without touching the source: see `go help build`, -overlay.
func buildWithFailpoints(dir, binary string) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	overlay, _, err := instrument(root, dir)
	if err != nil {
		return err
	}
	content, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return err
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, content, 0o600); err != nil {
		return err
	}
	build := exec.Command("go", "build", "-overlay", overlayFile, "-o", binary, "./cmd/streamspace")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// instrument writes the files that have markers anew into dir. It gives what
// replaces what, and the markers' names.
func instrument(root, dir string) (overlay map[string]string, names []string, err error) {
	overlay = map[string]string{
		filepath.Join(root, "internal/failpoint/failpoint.go"): filepath.Join(root, failpointSource),
	}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == "test" || entry.Name() == "bench" ||
			path != root && strings.HasPrefix(entry.Name(), ".")):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		called, found := call(content)
		if len(found) == 0 {
			return nil
		}
		names = append(names, found...)
		replaced := filepath.Join(dir, fmt.Sprintf("%d-%s", len(overlay), entry.Name()))
		overlay[path] = replaced
		return os.WriteFile(replaced, called, 0o600)
	})
	return overlay, names, err
}

// call turns markers into calls. Each line stays where it is, so that the
// places in stack traces are right.
func call(source []byte) (called []byte, names []string) {
	for _, found := range marker.FindAllSubmatch(source, -1) {
		names = append(names, string(found[2]))
	}
	if len(names) == 0 {
		return nil, nil
	}
	called = marker.ReplaceAll(source, []byte(`${1}failpoint.Hit("${2}")`))
	clause := packageClause.FindIndex(called)
	imported := fmt.Appendf(nil, "; import %q", failpointPackage)
	return bytes.Join([][]byte{called[:clause[1]], imported, called[clause[1]:]}, nil), names
}

// failpoints are the faults that one program is asked for.
type failpoints struct {
	t   *testing.T
	dir string
}

// newFailpoints makes the directory to ask in.
func newFailpoints(t *testing.T, dir string) failpoints {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return failpoints{t: t, dir: dir}
}

func (f failpoints) env() []string { return []string{failpointsVariable + "=" + f.dir} }

// arm asks for an action, kill, pause or hold, at the hit'th time that any
// process comes by the place. It happens once.
func (f failpoints) arm(place string, hit int, action string) {
	f.t.Helper()
	beside := filepath.Join(f.dir, "beside")
	err := os.WriteFile(beside, fmt.Appendln(nil, hit, action), 0o600)
	if err == nil {
		err = os.Rename(beside, filepath.Join(f.dir, place))
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// reached waits until what was armed at the place has happened.
func (f failpoints) reached(place string) {
	f.t.Helper()
	program.Eventually(f.t, place+" is reached", 30*time.Second, func() error {
		if content, err := os.ReadFile(filepath.Join(f.dir, place)); err == nil {
			return fmt.Errorf("armed still: %s", content)
		}
		return nil
	})
}

// held waits until a process is held at the place, and gives what lets it go
// on.
func (f failpoints) held(place string) (release func()) {
	f.t.Helper()
	path := filepath.Join(f.dir, place+".held")
	program.Eventually(f.t, place+" is reached", 30*time.Second, func() error {
		_, err := os.Stat(path)
		return err
	})
	return func() {
		f.t.Helper()
		if err := os.Remove(path); err != nil {
			f.t.Fatal(err)
		}
	}
}

// The program that people get knows nothing of failpoints, and the one of
// these tests has all of them.
func TestFailpointsAreInTheirBinaryAlone(t *testing.T) {
	_, names, err := instrument("../..", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, one := range cases() {
		known[one.point] = true
	}
	for _, one := range repairs() {
		known[one.point] = true
	}
	for point := range podPoints() {
		known[point] = true
	}
	for _, point := range append(removals(), applications()...) {
		known[point] = true
	}
	for _, name := range names {
		if !known[name] {
			t.Errorf("no case ends anything at %s", name)
		}
		delete(known, name)
	}
	for name := range known {
		t.Errorf("the source has no failpoint %s, or two of that name", name)
	}
	for path, want := range map[string]bool{program.Binary(t): false, failpointBinary(t): true} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if has := bytes.Contains(content, []byte(failpointsVariable)); has != want {
			t.Errorf("%s: failpoints %v, not %v", path, has, want)
		}
	}
}
