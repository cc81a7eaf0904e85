package sim_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/sim"
)

// bugSeeds is within how many seeds each planted bug must be found.
const bugSeeds = 1000

var bugs = flag.String("bugs", "some", `which planted bugs to try: some, all, or a part of a name`)

// some are found within a few seeds, and one of each part of the product.
func some() []string {
	return []string{"epochs do not rise", "journal appends are not synced", "recorder loses an end that it merges"}
}

var violated = regexp.MustCompile(`(\w+) violated, seed (\d+), at`)

// TestBugsFollowTheProduct notices a change of the product that leaves the table
// behind, without building anything.
func TestBugsFollowTheProduct(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, bug := range sim.Bugs() {
		if _, err := bug.Plant(root, t.TempDir()); err != nil {
			t.Error(err)
		}
	}
}

// TestPlantedBugs builds this package's tests with each bug in the product, and
// has them find it.
func TestPlantedBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: planted bugs take a build each")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("| planted bug | found by | at seed |")
	fmt.Println("|---|---|---|")
	for _, bug := range sim.Bugs() {
		wanted := *bugs == "all" || *bugs == "some" && slices.Contains(some(), bug.Name) || *bugs != "some" && strings.Contains(bug.Name, *bugs)
		if !wanted {
			continue
		}
		t.Run(bug.Name, func(t *testing.T) {
			dir := t.TempDir()
			overlay, err := bug.Plant(root, dir)
			if err != nil {
				t.Fatal(err)
			}
			binary := filepath.Join(dir, "sim.test")
			build := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", overlay, "-o", binary, ".")
			if said, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build: %v\n%s", err, said)
			}
			find := exec.CommandContext(t.Context(), binary, "-test.run", "^TestSeeds$",
				"-test.timeout", "400s", "-seeds", fmt.Sprint(bugSeeds), "-stop-at", strings.Join(bug.Invariants, ","))
			find.Env = append(os.Environ(), "CI=")
			said, err := find.CombinedOutput()
			if err == nil {
				t.Fatalf("none of %d seeds finds it; %v should be violated", bugSeeds, bug.Invariants)
			}
			for _, match := range violated.FindAllStringSubmatch(string(said), -1) {
				if slices.Contains(bug.Invariants, match[1]) {
					fmt.Printf("| %s | %s | %s |\n", bug.Name, match[1], match[2])
					return
				}
			}
			tail := said[max(0, len(said)-3000):]
			t.Fatalf("something else went wrong, and not %v:\n%s", bug.Invariants, tail)
		})
	}
}
