package streamspace_test

import (
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages reads all Markdown files of ours.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/adr/*.md", "sim/*.md", "bench/*.md", "test/*/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all[filepath.ToSlash(name)] = string(content)
		}
	}
	return all
}

var (
	links    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headings = regexp.MustCompile(`(?m)^#+ (.+)$`)
	named    = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]+)`")
	packages = regexp.MustCompile("(?m)^\\| `([a-z/]+)/` \\|")
)

// anchor is what GitHub makes of a heading.
func anchor(heading string) string {
	var made strings.Builder
	for _, char := range strings.ToLower(heading) {
		switch {
		case char == ' ':
			made.WriteByte('-')
		case char == '-' || char == '_' || char >= 'a' && char <= 'z' || char >= '0' && char <= '9':
			made.WriteRune(char)
		}
	}
	return made.String()
}

func TestLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	for name, content := range all {
		for _, link := range links.FindAllStringSubmatch(content, -1) {
			target, section, _ := strings.Cut(link[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := name
			if target != "" {
				file = path.Join(path.Dir(name), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: the link to %s: %v", name, link[1], err)
				continue
			}
			if section == "" {
				continue
			}
			found := false
			for _, heading := range headings.FindAllStringSubmatch(all[file], -1) {
				found = found || anchor(heading[1]) == section
			}
			if !found {
				t.Errorf("%s: the link to %s leads to no heading", name, link[1])
			}
		}
	}
}

// The map of the source names each package, and each test that it names is
// there.
func TestTheMapIsTrue(t *testing.T) {
	content, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	tests, dirs := map[string]bool{}, map[string]bool{}
	for _, file := range sources(t) {
		dirs[file.dir] = true
		for _, declared := range file.tree.Decls {
			if function, isFunction := declared.(*ast.FuncDecl); isFunction && file.test {
				tests[function.Name.Name] = true
			}
		}
	}
	for _, mention := range named.FindAllStringSubmatch(page, -1) {
		if !tests[mention[1]] {
			t.Errorf("ARCHITECTURE.md names %s, which is no test", mention[1])
		}
	}
	mapped := map[string]bool{}
	for _, row := range packages.FindAllStringSubmatch(page, -1) {
		mapped[row[1]] = true
		if _, err := os.Stat(row[1]); err != nil {
			t.Errorf("ARCHITECTURE.md has %s on its map: %v", row[1], err)
		}
	}
	for dir := range dirs {
		known := dir == "."
		for ; dir != "." && !known; dir = path.Dir(dir) {
			known = mapped[dir]
		}
		if !known {
			t.Errorf("ARCHITECTURE.md has no row for %s", dir)
		}
	}
	for _, section := range []string{"Who may import whom", "Dependencies", "Rules of the source"} {
		if !strings.Contains(page, "\n## "+section+"\n") {
			t.Errorf("ARCHITECTURE.md has no section %q, to which failing rules point", section)
		}
	}
}
