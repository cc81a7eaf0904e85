package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/streamspace/streamspace/models"
)

// maxMistakes bounds how many mistakes of one template are told.
const maxMistakes = 10

// located is a template and where its document begins.
type located struct {
	template models.Template
	line     int
}

// Mistake is one thing that is wrong with a template.
type Mistake struct {
	// Line is where it is in the file, from 1; 0 is nowhere in particular.
	Line int
	// Field is what it is about, such as spec.env[0].name; empty is the whole.
	Field string
	// Message goes on from the field's name.
	Message string
}

// Invalid is everything that is wrong with one template.
type Invalid struct {
	// File and Template say where it is; Template is empty if it has no name.
	File, Template string
	// Mistakes are in the order of their lines.
	Mistakes []Mistake
}

// Error tells the first mistakes, each with line and field.
func (i *Invalid) Error() string {
	var told []string
	for n, wrong := range i.Mistakes {
		if n == maxMistakes {
			told = append(told, fmt.Sprintf("and %d more", len(i.Mistakes)-n))
			break
		}
		told = append(told, fmt.Sprintf("line %d: %s", wrong.Line, strings.TrimSpace(wrong.Field+" "+wrong.Message)))
	}
	where := i.File
	if i.Template != "" {
		where += ": template " + i.Template
	}
	return where + ": " + strings.Join(told, "; ")
}

// Read reads the templates that a file holds, which may be several. Each
// template that is wrong is one problem, of type *Invalid unless it is not
// even YAML. file is what problems call it.
func Read(file string, content []byte) (templates []models.Template, problems []error) {
	if len(content) > maxFile {
		return nil, []error{tooLarge(file)}
	}
	read, problems := decode(file, content)
	for _, found := range read {
		templates = append(templates, found.template)
	}
	return templates, problems
}

// decode reads every document of a file.
func decode(file string, content []byte) (templates []located, problems []error) {
	found := false
	for _, part := range split(string(content)) {
		parsed, err := parser.ParseBytes([]byte(part.text), 0)
		if err != nil {
			found = true
			problems = append(problems, syntaxError(file, part.line, err))
			continue
		}
		for _, document := range parsed.Docs {
			if isEmpty(document.Body) {
				continue
			}
			found = true
			read, mistakes := decodeDocument(document.Body, part.line)
			if len(mistakes) > 0 {
				slices.SortStableFunc(mistakes, func(a, b Mistake) int { return cmp.Compare(a.Line, b.Line) })
				problems = append(problems, &Invalid{File: file, Template: read.template.Metadata.Name, Mistakes: mistakes})
				continue
			}
			templates = append(templates, read)
		}
	}
	if !found {
		problems = append(problems, fmt.Errorf("%s holds no template", file))
	}
	return templates, problems
}

// Check tells what is wrong with a template that was not read from YAML, and
// gives it with what every template of its kind needs. Lines are 0.
func Check(template models.Template) (models.Template, []Mistake) {
	r := newReader(0)
	r.check(template)
	if process := template.Spec.Process; process != nil {
		whole := *process // complete must not change the caller's
		whole.Needs = slices.Clone(process.Needs)
		template.Spec.Process = &whole
	}
	complete(&template)
	return template, r.mistakes
}

// part is the text of one document and how many lines are before it.
type part struct {
	text string
	line int
}

// split cuts a file where one document ends and the next begins. The library
// can do that itself, but it drops what follows a document that is empty, and
// one that is not YAML would take all others with it.
func split(content string) []part {
	var parts []part
	begin, before := 0, 0
	offset, line := 0, 0
	for text := range strings.Lines(content) {
		if rest, marked := strings.CutPrefix(text, "---"); marked && (rest == "" || strings.ContainsAny(rest[:1], " \t\r\n")) {
			parts = append(parts, part{content[begin:offset], before})
			// What else stands on this line is of the document that begins.
			begin, before = offset+len("---"), line
		}
		offset += len(text)
		line++
	}
	return append(parts, part{content[begin:], before})
}

func isEmpty(node ast.Node) bool {
	if node == nil {
		return true
	}
	kind := node.Type()
	return kind == ast.NullType || kind == ast.CommentType || kind == ast.CommentGroupType
}

// decodeDocument reads a document that has so many lines before it.
func decodeDocument(body ast.Node, before int) (located, []Mistake) {
	r := newReader(before)
	template := models.Template{}
	r.document(body, &template)
	if len(r.mistakes) == 0 {
		// What could not be read whole would only seem to be wrong in more ways.
		r.check(template)
		complete(&template)
	}
	return located{template: template, line: r.lines[""]}, r.mistakes
}

// complete adds what every template of its kind needs.
func complete(template *models.Template) {
	process := template.Spec.Process
	if process == nil || template.Spec.Protocol != models.ProtocolVNC || slices.Contains(template.Needs(), xServer) {
		return
	}
	process.Needs = append(process.Needs, models.Need{Command: xServer, Install: "apt-get install tigervnc-standalone-server"})
}

// xServer is the command that the process platform shows VNC sessions with.
const xServer = "Xvnc"

// syntaxError says where a file stops being YAML, without the library's
// drawing of the place.
func syntaxError(file string, before int, err error) error {
	var syntax yaml.Error
	if !errors.As(err, &syntax) || syntax.GetToken() == nil || syntax.GetToken().Position == nil {
		return fmt.Errorf("%s is not YAML: %w", file, err)
	}
	return fmt.Errorf("%s: line %d: not YAML: %s", file, before+syntax.GetToken().Position.Line, syntax.GetMessage())
}
