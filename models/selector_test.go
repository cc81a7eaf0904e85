package models_test

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/models"
)

func TestParseSelector(t *testing.T) {
	one := func(key string, operator models.LabelOperator, values ...string) models.Selector {
		return models.Selector{{Key: key, Operator: operator, Values: values}}
	}
	for text, want := range map[string]models.Selector{
		"":                      nil,
		" \t":                   nil,
		"a=b":                   one("a", models.LabelIn, "b"),
		" a == b ":              one("a", models.LabelIn, "b"),
		"a=":                    one("a", models.LabelIn, ""),
		"a!=b":                  one("a", models.LabelNotIn, "b"),
		"a in (x, y)":           one("a", models.LabelIn, "x", "y"),
		"a in(x,)":              one("a", models.LabelIn, "x", ""),
		"a notin (x,y)":         one("a", models.LabelNotIn, "x", "y"),
		"in in (in)":            one("in", models.LabelIn, "in"),
		"notin":                 one("notin", models.LabelExists),
		"example.com/gpu-model": one("example.com/gpu-model", models.LabelExists),
		"! a":                   one("a", models.LabelNotExists),
		"a,!b,c in (x, y),d=e": {{Key: "a", Operator: models.LabelExists}, {Key: "b", Operator: models.LabelNotExists},
			{Key: "c", Operator: models.LabelIn, Values: []string{"x", "y"}}, {Key: "d", Operator: models.LabelIn, Values: []string{"e"}}},
	} {
		got, err := models.ParseSelector(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is read as %+v (%v), want %+v", text, got, err, want)
		}
	}
}

func TestParseSelectorSaysWhatIsWrong(t *testing.T) {
	for text, part := range map[string]string{
		",":                            "nothing beside one of its commas",
		"a,":                           "nothing beside one of its commas",
		"=b":                           `"=b"`,
		"!":                            "write key=value",
		"!a=b":                         "write key=value",
		"a b":                          "write key=value",
		"a > 1":                        "write key=value",
		"a in x":                       "write key=value",
		"a in (x) y":                   "write key=value",
		"a in (x":                      "without its partner",
		"a in (x, (y))":                "without its partner",
		"a)":                           "without its partner",
		"a in ()":                      "0 values; name 1 to 64",
		"a=b=c":                        `value "b=c" of label "a"`,
		"a=b c":                        `value "b c"`,
		"a=-b":                         "begin and end with",
		"-a":                           `key "-a"`,
		"a/":                           `key "a/"`,
		"a/b/c":                        `key "a/b/c"`,
		"A/b":                          "DNS name in lower case",
		"/b":                           "DNS name in lower case",
		strings.Repeat("a", 64):        "at most 63",
		"a=" + strings.Repeat("b", 64): "at most 63",
		"ä":                            `key "ä"`,
		strings.Repeat("a,", 32) + "a": "33 requirements; keep at most 32",
	} {
		got, err := models.ParseSelector(text)
		if models.CodeOf(err) != models.CodeInvalidRequest || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is read as %+v, and the error is %v, which does not say %q", text, got, err, part)
		}
	}
}

func TestSelectorValidate(t *testing.T) {
	for name, test := range map[string]struct {
		selector models.Selector
		part     string
	}{
		"no operator":      {models.Selector{{Key: "a"}}, `operator ""`},
		"foreign operator": {models.Selector{{Key: "a", Operator: "Gt", Values: []string{"1"}}}, "use In, NotIn, Exists or DoesNotExist"},
		"values to exist":  {models.Selector{{Key: "a", Operator: models.LabelExists, Values: []string{"b"}}}, "leave them out"},
		"too many values":  {models.Selector{{Key: "a", Operator: models.LabelIn, Values: make([]string, 65)}}, "name 1 to 64"},
		"bad second":       {models.Selector{{Key: "a", Operator: models.LabelExists}, {Key: "", Operator: models.LabelExists}}, `key ""`},
	} {
		if err := test.selector.Validate(); models.CodeOf(err) != models.CodeInvalidRequest || !strings.Contains(err.Error(), test.part) {
			t.Errorf("%s: %v does not say %q", name, err, test.part)
		}
	}
}

func TestValidateLabels(t *testing.T) {
	many := map[string]string{}
	for i := range 65 {
		many[strings.Repeat("a", i+1)] = ""
	}
	for name, test := range map[string]struct {
		labels map[string]string
		part   string // nothing when they are valid
	}{
		"none":       {nil, ""},
		"plain":      {map[string]string{"gpu": "a100", "empty": "", "a.b_c-D": "1.5_x-Y"}, ""},
		"prefixed":   {map[string]string{"gpu.example.com/model": "a100"}, ""},
		"bad key":    {map[string]string{"a b": "c"}, `label key "a b"`},
		"bad prefix": {map[string]string{"ex_ample/a": "c"}, `label key "ex_ample/a"`},
		"bad value":  {map[string]string{"a": "b/c"}, `value "b/c" of label "a"`},
		"no key":     {map[string]string{"": "a"}, `label key ""`},
		"too many":   {many, "keep at most 64"},
		"longest":    {map[string]string{strings.Repeat("p", 253) + "/" + strings.Repeat("k", 63): strings.Repeat("v", 63)}, ""},
		"too long":   {map[string]string{strings.Repeat("p", 254) + "/k": ""}, "DNS name"},
	} {
		err := models.ValidateLabels(test.labels)
		if test.part == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if test.part != "" && (models.CodeOf(err) != models.CodeInvalidRequest || !strings.Contains(err.Error(), test.part)) {
			t.Errorf("%s: %v does not say %q", name, err, test.part)
		}
	}
}

func selectors() *rapid.Generator[models.Selector] {
	name := `[A-Za-z0-9]([A-Za-z0-9._-]{0,5}[A-Za-z0-9])?`
	key := rapid.StringMatching(`([a-z0-9]([a-z0-9-]{0,3}[a-z0-9])?(\.[a-z0-9]{1,3})?/)?` + name)
	value := rapid.StringMatching(`(` + name + `)?`)
	return rapid.Map(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) models.LabelRequirement {
		requirement := models.LabelRequirement{Key: key.Draw(t, "key"), Operator: rapid.SampledFrom([]models.LabelOperator{
			models.LabelIn, models.LabelNotIn, models.LabelExists, models.LabelNotExists}).Draw(t, "operator")}
		if requirement.Operator == models.LabelIn || requirement.Operator == models.LabelNotIn {
			requirement.Values = rapid.SliceOfN(value, 1, 4).Draw(t, "values")
		}
		return requirement
	}), 0, 5), func(all []models.LabelRequirement) models.Selector {
		if len(all) == 0 {
			return nil
		}
		return all
	})
}

func TestSelectorsAreReadAsTheyAreWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		selector := selectors().Draw(t, "selector")
		got, err := models.ParseSelector(selector.String())
		if err != nil || !reflect.DeepEqual(got, selector) {
			t.Fatalf("%q is read as %+v (%v), want %+v", selector, got, err, selector)
		}
	})
}

// Whatever people write, reading it ends with a valid selector or an error.
func TestParseSelectorReadsAnything(t *testing.T) {
	pieces := rapid.SampledFrom([]string{"a", "b/c", "in", "notin", "=", "!", "(", ")", ",", " ", "ä", "\xff", "-"})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(pieces).Draw(t, "pieces"), "")
		selector, err := models.ParseSelector(text)
		if err != nil && models.CodeOf(err) != models.CodeInvalidRequest {
			t.Fatal(err)
		}
		if err == nil {
			if again, err := models.ParseSelector(selector.String()); err != nil || !reflect.DeepEqual(again, selector) {
				t.Fatalf("%q becomes %+v (%v) when %q is read again", selector, again, err, text)
			}
		}
	})
}
