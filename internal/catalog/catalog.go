// Package catalog reads templates: those that are built in, and those that
// people write as YAML files. docs/templates.md describes the format.
package catalog

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/streamspace/streamspace/models"
)

// maxFile is the largest file that is read, in bytes. A template travels in a
// start command, whose frame has wire.MaxFrame bytes; the built-in ones have
// under 8 KiB.
const maxFile = 256 << 10

//go:embed builtin/*.yaml
var builtin embed.FS

// Builtin gives the templates that come with the program: desktop, browser and
// terminal.
func Builtin() ([]models.Template, error) {
	entries, err := builtin.ReadDir("builtin")
	if err != nil {
		return nil, err
	}
	var templates []models.Template
	for _, entry := range entries {
		content, err := builtin.ReadFile(path.Join("builtin", entry.Name()))
		if err != nil {
			return nil, err
		}
		read, problems := decode(entry.Name(), content)
		if err := errors.Join(problems...); err != nil {
			return nil, err
		}
		for _, found := range read {
			templates = append(templates, found.template)
		}
	}
	return templates, nil
}

// Load reads the .yaml and .yml files in dir, in the order of their names; not
// those below it, nor hidden ones. A file may hold several templates. Each
// template that is wrong, and each file that cannot be read, is one problem,
// which says where and what; all others are in templates. Of two templates with
// one name the first is kept.
func Load(dir string) (templates []models.Template, problems []error) {
	files, err := filesIn(dir)
	if err != nil {
		return nil, []error{err}
	}
	return loadFiles(files)
}

// LoadFiles reads the named files, as Load reads those of a directory, and of
// a directory among them what Load would read.
func LoadFiles(names []string) (templates []models.Template, problems []error) {
	var files []string
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || !info.IsDir() {
			files = append(files, name)
			continue
		}
		inside, err := filesIn(name)
		if err == nil && len(inside) == 0 {
			err = fmt.Errorf("%s holds no .yaml or .yml file", name)
		}
		if err != nil {
			problems = append(problems, err)
		}
		files = append(files, inside...)
	}
	templates, wrong := loadFiles(files)
	return templates, append(problems, wrong...)
}

func filesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the templates: %w", err)
	}
	var files []string
	for _, entry := range entries {
		if isTemplateFile(entry.Name()) {
			files = append(files, filepath.Join(dir, entry.Name()))
		}
	}
	return files, nil
}

func loadFiles(files []string) (templates []models.Template, problems []error) {
	first := map[string]string{}
	for _, file := range files {
		content, err := readFile(file)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		read, wrong := decode(file, content)
		problems = append(problems, wrong...)
		for _, found := range read {
			name := found.template.Metadata.Name
			if earlier, taken := first[name]; taken {
				problems = append(problems, fmt.Errorf("%s:%d: there is a template %q in %s already; give one of them another name",
					file, found.line, name, earlier))
				continue
			}
			first[name] = fmt.Sprintf("%s:%d", file, found.line)
			templates = append(templates, found.template)
		}
	}
	return templates, problems
}

func isTemplateFile(name string) bool {
	return !strings.HasPrefix(name, ".") && slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(name))
}

// readFile reads a file that is not too large. It follows links, as
// directories that Kubernetes mounts are made of them.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("read a template: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file; templates are files", name)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read a template: %w", err)
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read a template: %w", err)
	}
	if len(content) > maxFile {
		return nil, tooLarge(name)
	}
	return content, nil
}

func tooLarge(file string) error {
	return fmt.Errorf("%s has more than %d KiB; put each template into a file of its own", file, maxFile>>10)
}
