// Package streamspace_test holds the rules that the source as a whole keeps to:
// who may import whom, and what nobody may have. ARCHITECTURE.md tells why.
package streamspace_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/streamspace/streamspace"

// layer is a package and what of ours it may import.
type layer struct {
	who string
	may []string
}

// imports says which of our packages each package may use outside of its
// tests. Each line may use what is on lines above it, never below: imports
// point down. A name that ends in /... means that package and those below it,
// which may use each other as well.
var imports = []layer{
	{"models", nil},
	{"wire", []string{"models"}},
	{"db", []string{"models", "wire"}},
	{"db/dbtest", []string{"db"}},
	{"websocket", []string{"db", "models", "wire"}},
	{"services", []string{"db", "models", "websocket", "wire"}},
	{"tunnel", []string{"models", "wire"}},
	{"tunnel/proxy", []string{"models", "tunnel"}},
	{"agent/driver", []string{"models"}},
	{"agent/driver/drivertest", []string{"agent/driver", "models"}},
	{"agent/driver/health", []string{"models"}},
	{"agent/driver/turns", nil},
	{"agent/driver/terminal", nil},
	{"agent/driver/process/...", []string{"agent/driver", "agent/driver/health", "agent/driver/terminal", "agent/driver/turns", "models", "wire"}},
	{"agent/driver/docker/...", []string{"agent/driver", "agent/driver/health", "agent/driver/terminal", "agent/driver/turns", "models"}},
	{"agent/driver/kubernetes/...", []string{"agent/driver", "agent/driver/health", "agent/driver/terminal", "agent/driver/turns", "models"}},
	{"agent", []string{"agent/driver", "models", "tunnel", "wire"}},
	{"client", []string{"models"}},
	{"internal/config", nil},
	{"internal/console", nil},
	{"internal/catalog", []string{"models"}},
	{"internal/auth", []string{"db", "models", "wire"}},
	{"internal/cli", []string{"client", "internal/catalog", "internal/config", "models"}},
	{"internal/api", []string{"db", "internal/auth", "internal/catalog", "models", "services", "tunnel", "tunnel/proxy", "websocket", "wire"}},
	{"internal/server", []string{
		"agent", "agent/driver", "agent/driver/docker", "agent/driver/kubernetes", "agent/driver/process", "db", "internal/api", "internal/auth", "internal/catalog",
		"internal/config", "internal/console", "models", "services", "tunnel", "websocket", "wire",
	}},
	{"cmd/streamspace", []string{"agent/driver/process", "internal/cli", "internal/config", "internal/server"}},
	{"sim/...", []string{"agent", "agent/driver", "client", "db", "models", "services", "tunnel", "websocket", "wire"}},
	{"test/...", []string{"client", "models", "wire"}},
}

// testsNever says what not even the tests of a package may import.
var testsNever = map[string][]string{
	"agent":     {"db", "services", "websocket"},
	"client":    {"db", "services", "websocket"},
	"models":    {"db", "services", "websocket", "wire"},
	"tunnel":    {"db", "services"},
	"websocket": {"services"},
	"wire":      {"db", "services", "websocket"},
}

// owners says who may use what others have made, outside of tests. What is not
// here is for tests only. A dependency has one owner, or a few.
var owners = map[string][]string{
	"github.com/coder/websocket":          {"agent", "client", "tunnel", "websocket", "sim", "test/webapp"},
	"github.com/containerd/errdefs":       {"agent/driver/docker"},
	"github.com/danielgtaylor/huma/v2":    {"internal/api"},
	"github.com/goccy/go-yaml":            {"internal/catalog"},
	"github.com/jackc/pgx/v5":             {"db"},
	"github.com/mattn/go-sqlite3":         {"db", "sim"},
	"github.com/prometheus/client_golang": {"internal/api", "internal/server"},
	"github.com/spf13/cobra":              {"internal/cli"},
	"github.com/spf13/pflag":              {"internal/cli", "internal/config"},
	"golang.org/x/sync":                   {"agent"},
	"golang.org/x/sys":                    {"agent/driver/process", "internal/server"},
	"database/sql":                        {"db", "services/selector.go", "sim"},
	"github.com/docker":                   {"agent/driver/docker"},
	"github.com/moby":                     {"agent/driver/docker"},
	"github.com/distribution/reference":   {"agent/driver/docker"},
	"k8s.io":                              {"agent/driver/kubernetes"},
}

// vague are names that say nothing of what is inside.
var vague = []string{"base", "common", "core", "helper", "helpers", "lib", "misc", "shared", "tools", "util", "utils"}

// The most lines of a file. What is longer holds more than one thing.
const (
	maxLines     = 600
	maxTestLines = 800
)

// source is one file.
type source struct {
	name   string // from the root, with slashes
	dir    string
	test   bool
	tree   *ast.File
	places *token.FileSet
}

// parsed is every Go file of this module, read once for all tests.
var parsed = sync.OnceValues(parse)

func sources(t *testing.T) []source {
	t.Helper()
	all, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d files were found", len(all))
	}
	return all
}

func parse() ([]source, error) {
	places := token.NewFileSet()
	var all []source
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if base := entry.Name(); name == "bench" || name == "deploy" || base == "testdata" || base == "node_modules" || len(base) > 1 && strings.HasPrefix(base, ".") {
				return filepath.SkipDir // bench and deploy are modules of their own
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		tree, err := parser.ParseFile(places, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		all = append(all, source{name: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), tree: tree, places: places})
		return nil
	})
	return all, err
}

// fail reports a file that breaks a rule, and where the rule is explained.
func (s source) fail(t *testing.T, at token.Pos, section, format string, args ...any) {
	t.Helper()
	t.Errorf("%s:%d: "+format+" (ARCHITECTURE.md, %s)",
		append(append([]any{s.name, s.places.Position(at).Line}, args...), section)...)
}

// within tells whether a package is the named one, or below it if the name ends
// in /....
func within(dir, name string) bool {
	if root, open := strings.CutSuffix(name, "/..."); open {
		return dir == root || strings.HasPrefix(dir, root+"/")
	}
	return dir == name
}

func TestImportsPointDown(t *testing.T) {
	const section = "Who may import whom"
	for i, line := range imports {
		for _, below := range line.may {
			if !slices.ContainsFunc(imports[:i], func(earlier layer) bool { return within(below, earlier.who) }) {
				t.Errorf("the rules let %s import %s, which is not above it (ARCHITECTURE.md, %s)", line.who, below, section)
			}
		}
	}
	for _, file := range sources(t) {
		for _, spec := range file.tree.Imports {
			target, ours := strings.CutPrefix(imported(spec), module+"/")
			if !ours {
				continue
			}
			if file.test {
				checkTest(t, file, spec, target)
				continue
			}
			line := slices.IndexFunc(imports, func(line layer) bool { return within(file.dir, line.who) })
			if line < 0 {
				file.fail(t, spec.Pos(), section, "no rule says what %s may import; add one, where it belongs in the order", file.dir)
				continue
			}
			if !slices.Contains(imports[line].may, target) && !within(target, imports[line].who) {
				file.fail(t, spec.Pos(), section, "%s may not import %s, of ours only: %s", file.dir, target, strings.Join(imports[line].may, ", "))
			}
		}
	}
}

func checkTest(t *testing.T, file source, spec *ast.ImportSpec, target string) {
	t.Helper()
	for who, never := range testsNever {
		if within(file.dir, who+"/...") && slices.Contains(never, target) {
			file.fail(t, spec.Pos(), "Who may import whom", "not even tests of %s may import %s", who, target)
		}
	}
}

func imported(spec *ast.ImportSpec) string {
	name, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return spec.Path.Value // the parser has let it through, so this does not happen
	}
	return name
}

// What others have made is used in few places, so that it can be replaced.
func TestDependenciesHaveOwners(t *testing.T) {
	const section = "Dependencies"
	for _, file := range sources(t) {
		if file.test || within(file.dir, "test/...") || within(file.dir, "db/dbtest") {
			continue
		}
		for _, spec := range file.tree.Imports {
			name := imported(spec)
			owner, known := ownersOf(name)
			if !known {
				first, _, _ := strings.Cut(name, "/")
				if strings.Contains(first, ".") && !strings.HasPrefix(name, module+"/") {
					file.fail(t, spec.Pos(), section, "%s has no owner; say who uses it and why", name)
				}
				continue
			}
			if !slices.ContainsFunc(owner, func(who string) bool { return file.name == who || within(file.dir, who+"/...") }) {
				file.fail(t, spec.Pos(), section, "%s is for %s alone", name, strings.Join(owner, ", "))
			}
		}
	}
}

// ownersOf finds the longest entry that name is or is below.
func ownersOf(name string) (owner []string, known bool) {
	for ; name != "." && name != "/"; name = path.Dir(name) {
		if owner, known = owners[name]; known {
			return owner, true
		}
	}
	return nil, false
}

func TestFilesAndNames(t *testing.T) {
	const section = "Rules of the source"
	for _, file := range sources(t) {
		limit := maxLines
		if file.test {
			limit = maxTestLines
		}
		if lines := file.places.File(file.tree.Pos()).LineCount(); lines > limit {
			file.fail(t, file.tree.Pos(), section, "%d lines are more than %d; divide it by concept", lines, limit)
		}
		for _, part := range append(strings.Split(file.dir, "/"), file.tree.Name.Name, strings.TrimSuffix(path.Base(file.name), ".go")) {
			if slices.Contains(vague, part) {
				file.fail(t, file.tree.Pos(), section, "%q does not say what is inside", part)
			}
		}
	}
}

func TestWhatNobodyHas(t *testing.T) {
	const section = "Rules of the source"
	for _, file := range sources(t) {
		for _, group := range file.tree.Comments {
			for _, marker := range []string{"TO" + "DO", "FIX" + "ME", "X" + "XX"} {
				if strings.Contains(group.Text(), marker) {
					file.fail(t, group.Pos(), section, "%s is for what is not done; do it, or leave it out", marker)
				}
			}
		}
		ast.Inspect(file.tree, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.FuncDecl:
				if node.Recv == nil && node.Name.Name == "init" {
					file.fail(t, node.Pos(), section, "init runs unseen; let main call what has to be done")
				}
			case *ast.SelectorExpr:
				if of, isName := node.X.(*ast.Ident); isName && of.Name == "time" && node.Sel.Name == "Sleep" && !within(file.dir, "sim/...") {
					// The simulation's time is virtual.
					file.fail(t, node.Pos(), section, "time.Sleep can be neither ended nor tested; wait for a condition or a timer")
				}
			case *ast.BasicLit:
				if node.Kind == token.STRING && !file.test && !within(file.dir, "db/...") && !within(file.dir, "sim/...") && isSQL(node.Value) {
					file.fail(t, node.Pos(), section, "SQL belongs into db")
				}
			}
			return true
		})
	}
}

// isSQL recognises the statements that read and change rows.
func isSQL(text string) bool {
	text = strings.Join(strings.Fields(text), " ")
	for _, statement := range []string{"INSERT INTO ", "DELETE FROM ", "SELECT * FROM ", "CREATE TABLE "} {
		if strings.Contains(text, statement) {
			return true
		}
	}
	for begin, rest := range map[string]string{"SELECT ": " FROM ", "UPDATE ": " SET "} {
		if at := strings.Index(text, begin); at >= 0 && strings.Contains(text[at:], rest) {
			return true
		}
	}
	return false
}
