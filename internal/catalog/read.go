package catalog

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/streamspace/streamspace/models"
)

// reader fills a template from YAML and notes every mistake with its line. The
// YAML library can decode by itself, but it stops at the first mistake, tells
// it in the words of Go, and does not say which keys there are.
type reader struct {
	// before is how many lines of the file are before the document.
	before int
	// lines is where each field that was given stands.
	lines    map[string]int
	mistakes []Mistake
}

func newReader(before int) *reader { return &reader{before: before, lines: map[string]int{}} }

// wrong notes a mistake at a field, or where the nearest field around it is.
func (r *reader) wrong(field, format string, args ...any) {
	near := field
	for r.lines[near] == 0 && near != "" {
		near = around(near)
	}
	r.mistakes = append(r.mistakes, Mistake{Line: r.lines[near], Field: field, Message: fmt.Sprintf(format, args...)})
}

// around is the field that a field is part of.
func around(field string) string {
	return field[:max(0, strings.LastIndexAny(field, ".["))]
}

func below(field, key string) string {
	return strings.TrimPrefix(field+"."+key, ".")
}

func (r *reader) lineOf(node ast.Node) int {
	if token := node.GetToken(); token != nil && token.Position != nil {
		return r.before + token.Position.Line
	}
	return 0
}

func (r *reader) document(body ast.Node, template *models.Template) {
	r.lines[""] = r.lineOf(body)
	if mapping, isMapping := body.(ast.MapNode); isMapping {
		// Of a mapping the library gives the first colon's place.
		if entries := mapping.MapRange(); entries.Next() {
			r.lines[""] = r.lineOf(entries.Key())
		}
	}
	r.value(body, reflect.ValueOf(template).Elem(), "")
}

// value reads node into a part of the template.
func (r *reader) value(node ast.Node, into reflect.Value, field string) {
	if node == nil || node.Type() == ast.NullType {
		return // a key without a value is as good as none
	}
	switch node.(type) {
	case *ast.AnchorNode, *ast.AliasNode:
		r.wrong(field, "uses an anchor; write the value out")
		return
	case *ast.TagNode:
		r.wrong(field, "uses a tag; leave it out")
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		r.value(node, into.Elem(), field)
	case reflect.Struct:
		r.mapping(node, into, field)
	case reflect.Slice:
		r.list(node, into, field)
	case reflect.Map:
		r.pairs(node, into, field)
	default:
		r.scalar(node, into, field)
	}
}

func (r *reader) mapping(node ast.Node, into reflect.Value, field string) {
	mapping, isMapping := node.(ast.MapNode)
	if !isMapping {
		r.wrong(field, "must have keys: %s", strings.Join(keys(into.Type()), ", "))
		return
	}
	for entries := mapping.MapRange(); entries.Next(); {
		key := entries.Key()
		name := key.GetToken().Value
		part := below(field, name)
		index := slices.Index(keys(into.Type()), name)
		if index < 0 {
			r.lines[part] = r.lineOf(key)
			r.wrong(part, "is unknown; allowed here are %s", strings.Join(keys(into.Type()), ", "))
			continue
		}
		if _, twice := r.lines[part]; twice {
			r.wrong(part, "is there twice")
			continue
		}
		r.lines[part] = r.lineOf(key)
		r.value(entries.Value(), into.Field(index), part)
	}
}

// pairs reads keys of any name, with a value of text each.
func (r *reader) pairs(node ast.Node, into reflect.Value, field string) {
	mapping, isMapping := node.(ast.MapNode)
	if !isMapping {
		r.wrong(field, "must be keys with values")
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	for entries := mapping.MapRange(); entries.Next(); {
		name, one := reflect.ValueOf(entries.Key().GetToken().Value), reflect.New(into.Type().Elem()).Elem()
		if into.MapIndex(name).IsValid() {
			r.wrong(field, "has %q twice", name)
			continue
		}
		r.value(entries.Value(), one, field)
		into.SetMapIndex(name, one)
	}
}

// keys lists what YAML calls the fields of a struct, in their order.
func keys(of reflect.Type) []string {
	names := make([]string, 0, of.NumField())
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("yaml"), ",")
		names = append(names, name)
	}
	return names
}

func (r *reader) list(node ast.Node, into reflect.Value, field string) {
	list, isList := node.(ast.ArrayNode)
	if !isList {
		r.wrong(field, "must be a list")
		return
	}
	for items := list.ArrayRange(); items.Next(); {
		part := fmt.Sprintf("%s[%d]", field, into.Len())
		r.lines[part] = r.lineOf(items.Value())
		into.Set(reflect.Append(into, reflect.Zero(into.Type().Elem())))
		r.value(items.Value(), into.Index(into.Len()-1), part)
	}
}

func (r *reader) scalar(node ast.Node, into reflect.Value, field string) {
	text, isText := textOf(node)
	if !isText {
		r.wrong(field, "must be a single value")
		return
	}
	switch into.Kind() {
	case reflect.String:
		into.SetString(text)
	case reflect.Bool:
		value, isBool := node.(*ast.BoolNode)
		if !isBool {
			r.wrong(field, "must be true or false, not %q", text)
			return
		}
		into.SetBool(value.Value)
	case reflect.Int, reflect.Int64:
		number, err := strconv.Atoi(text)
		if err != nil {
			r.wrong(field, "must be a whole number, not %q", text)
			return
		}
		into.SetInt(int64(number))
	default:
		// The models have no other kind; a test reads a template with all fields.
		r.wrong(field, "cannot be read")
	}
}

// textOf gives a scalar as it is written: cpu: 2 means "2" as well.
func textOf(node ast.Node) (string, bool) {
	switch value := node.(type) {
	case *ast.StringNode:
		return value.Value, true
	case *ast.LiteralNode:
		return value.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, true
	}
	return "", false
}
