package catalog

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/streamspace/streamspace/models"
)

// Write gives a template as YAML, which Read reads as the same template. Fields
// without a value are left out. The YAML library can write by itself, but what
// it writes of some texts, such as those with a carriage return, is not read
// as it was.
func Write(template models.Template) []byte {
	var w writer
	w.mapping(reflect.ValueOf(template), 0)
	return []byte(w.String())
}

// writer writes block by block.
type writer struct{ strings.Builder }

const indentation = "  "

// mapping writes the fields of a struct, each on lines of its own.
func (w *writer) mapping(of reflect.Value, depth int) {
	for i, key := range keys(of.Type()) {
		switch value := reflect.Indirect(of.Field(i)); {
		case value.IsValid() && !empty(value):
			w.WriteString(strings.Repeat(indentation, depth) + key + ":")
			w.value(value, depth+1)
		case value.IsValid() && of.Field(i).Kind() == reflect.Pointer: // that it is there says something
			w.WriteString(strings.Repeat(indentation, depth) + key + ": {}\n")
		}
	}
}

// value writes what stands behind a key or a dash, and ends the line.
func (w *writer) value(value reflect.Value, depth int) {
	switch value.Kind() {
	case reflect.Struct:
		w.WriteByte('\n')
		w.mapping(value, depth)
	case reflect.Map:
		w.WriteByte('\n')
		for _, key := range slices.SortedFunc(value.Seq(), func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) }) {
			w.WriteString(strings.Repeat(indentation, depth) + quoted(key.String()) + ":")
			w.value(value.MapIndex(key), depth+1)
		}
	case reflect.Slice:
		w.WriteByte('\n')
		for i := range value.Len() {
			w.WriteString(strings.Repeat(indentation, depth) + "-")
			w.item(value.Index(i), depth+1)
		}
	case reflect.String:
		w.text(value.String(), depth)
	default:
		fmt.Fprintf(w, " %v\n", value.Interface())
	}
}

// item writes what stands behind a dash: of a struct the first field is on the
// dash's own line.
func (w *writer) item(value reflect.Value, depth int) {
	if value.Kind() != reflect.Struct {
		w.value(value, depth)
		return
	}
	var inner writer
	inner.mapping(value, depth)
	if block := strings.TrimLeft(inner.String(), " "); block != "" {
		w.WriteString(" " + block)
		return
	}
	w.WriteString(" {}\n")
}

func empty(value reflect.Value) bool {
	switch value.Kind() {
	case reflect.Struct:
		for i := range value.NumField() {
			if inner := reflect.Indirect(value.Field(i)); inner.IsValid() && !empty(inner) {
				return false
			}
		}
		return true
	case reflect.Slice, reflect.Map:
		return value.Len() == 0
	}
	return value.IsZero()
}

// plainText needs no quotes: it is neither a number nor a word of YAML.
var (
	plainText = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./@=+-]*(:[A-Za-z0-9_./@=+-]+)*( [A-Za-z0-9_(./][A-Za-z0-9_().,/'+=-]*)*$`)
	yamlWords = regexp.MustCompile(`^(?i:true|false|yes|no|on|off|null|y|n)$`)
	// scriptLine is a line of a text that is written as a block.
	scriptLine = regexp.MustCompile(`^[\x20-\x7e]*$`)
)

// text writes a script of several lines as a block, and any other text on one
// line.
func (w *writer) text(text string, depth int) {
	lines := strings.Split(text, "\n")
	last := len(lines) - 1
	block := last > 0 && lines[last] == "" && lines[last-1] != "" && lines[0] != "" && lines[0][0] != ' '
	for _, line := range lines {
		block = block && scriptLine.MatchString(line) && strings.TrimRight(line, " ") == line
	}
	if !block {
		w.WriteString(" " + quoted(text) + "\n")
		return
	}
	w.WriteString(" |\n")
	for _, line := range lines[:last] {
		w.WriteString(strings.TrimRight(strings.Repeat(indentation, depth)+line, " ") + "\n")
	}
}

// quoted gives a text in quotes unless it needs none.
func quoted(text string) string {
	if plainText.MatchString(text) && !yamlWords.MatchString(text) {
		return text
	}
	var out strings.Builder
	out.WriteByte('"')
	for _, char := range text {
		switch {
		case char == '"' || char == '\\':
			out.WriteRune('\\')
			out.WriteRune(char)
		case char == '\n':
			out.WriteString(`\n`)
		case char > 0xffff && !unicode.IsPrint(char):
			fmt.Fprintf(&out, `\U%08x`, char)
		case !unicode.IsPrint(char):
			fmt.Fprintf(&out, `\u%04x`, char)
		default:
			out.WriteRune(char)
		}
	}
	out.WriteByte('"')
	return out.String()
}
