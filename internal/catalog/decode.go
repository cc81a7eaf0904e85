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

// mistake is one thing that is wrong with a template.
type mistake struct {
	line    int
	field   string
	message string
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
				problems = append(problems, problem(file, read.template.Metadata.Name, mistakes))
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
func decodeDocument(body ast.Node, before int) (located, []mistake) {
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

// problem is one error for all mistakes of one template.
func problem(file, name string, mistakes []mistake) error {
	slices.SortStableFunc(mistakes, func(a, b mistake) int { return cmp.Compare(a.line, b.line) })
	var told []string
	for i, wrong := range mistakes {
		if i == maxMistakes {
			told = append(told, fmt.Sprintf("and %d more", len(mistakes)-i))
			break
		}
		told = append(told, fmt.Sprintf("line %d: %s", wrong.line, strings.TrimSpace(wrong.field+" "+wrong.message)))
	}
	where := file
	if name != "" {
		where += ": template " + name
	}
	return errors.New(where + ": " + strings.Join(told, "; "))
}

// syntaxError says where a file stops being YAML, without the library's
// drawing of the place.
func syntaxError(file string, before int, err error) error {
	var syntax yaml.Error
	if !errors.As(err, &syntax) || syntax.GetToken() == nil || syntax.GetToken().Position == nil {
		return fmt.Errorf("%s is not YAML: %w", file, err)
	}
	return fmt.Errorf("%s: line %d: not YAML: %s", file, before+syntax.GetToken().Position.Line, syntax.GetMessage())
}
