package models

import "strings"

// ParseSelector reads a selector in the words of Kubernetes: requirements with
// commas between them, all of which must hold. Each is one of
//
//	key = value      the label has this value; == means the same
//	key != value     it has another value, or is missing
//	key in (a, b)    it has one of these values
//	key notin (a, b) it has none of these values, or is missing
//	key              it exists
//	!key             it is missing
//
// Nothing but space chooses everything. Errors have CodeInvalidRequest.
func ParseSelector(text string) (Selector, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	parts, err := splitRequirements(text)
	if err != nil {
		return nil, err
	}
	var selector Selector
	for _, part := range parts {
		requirement, err := parseRequirement(part)
		if err != nil {
			return nil, err
		}
		selector = append(selector, requirement)
	}
	if err := selector.Validate(); err != nil {
		return nil, err
	}
	return selector, nil
}

// splitRequirements cuts at the commas that are outside of parentheses.
func splitRequirements(text string) ([]string, error) {
	var parts []string
	begin, inside := 0, false
	for i, char := range text {
		switch {
		case char == '(' && inside, char == ')' && !inside:
			return nil, unbalanced(text)
		case char == '(', char == ')':
			inside = !inside
		case char == ',' && !inside:
			parts = append(parts, text[begin:i])
			begin = i + 1
		}
	}
	if inside {
		return nil, unbalanced(text)
	}
	return append(parts, text[begin:]), nil
}

func unbalanced(text string) error {
	return Errorf(CodeInvalidRequest, "the selector %q has a parenthesis without its partner; write values as in key in (a, b)", clip(text))
}

func parseRequirement(text string) (LabelRequirement, error) {
	text = strings.TrimSpace(text)
	bare, negated := strings.CutPrefix(text, "!")
	bare = strings.TrimSpace(bare)
	end := strings.IndexFunc(bare, func(char rune) bool { return strings.ContainsRune(" \t\r\n=!()<>", char) })
	if end < 0 {
		end = len(bare)
	}
	key, rest := bare[:end], strings.TrimSpace(bare[end:])
	switch {
	case text == "":
		return LabelRequirement{}, Errorf(CodeInvalidRequest, "the selector has nothing beside one of its commas; take the comma out, or write a label there")
	case negated && rest == "" && key != "":
		return LabelRequirement{Key: key, Operator: LabelNotExists}, nil
	case negated || key == "":
		return LabelRequirement{}, unreadable(text)
	case rest == "":
		return LabelRequirement{Key: key, Operator: LabelExists}, nil
	}
	for _, form := range []struct {
		sign     string
		operator LabelOperator
	}{{"==", LabelIn}, {"=", LabelIn}, {"!=", LabelNotIn}} {
		if value, found := strings.CutPrefix(rest, form.sign); found {
			return LabelRequirement{Key: key, Operator: form.operator, Values: []string{strings.TrimSpace(value)}}, nil
		}
	}
	for _, form := range []struct {
		word     string
		operator LabelOperator
	}{{"in", LabelIn}, {"notin", LabelNotIn}} {
		if list, found := strings.CutPrefix(rest, form.word); found {
			return parseValues(text, LabelRequirement{Key: key, Operator: form.operator}, strings.TrimSpace(list))
		}
	}
	return LabelRequirement{}, unreadable(text)
}

// parseValues reads the values in parentheses after in or notin.
func parseValues(text string, requirement LabelRequirement, list string) (LabelRequirement, error) {
	inner, opened := strings.CutPrefix(list, "(")
	inner, closed := strings.CutSuffix(inner, ")")
	if !opened || !closed {
		return LabelRequirement{}, unreadable(text)
	}
	if strings.TrimSpace(inner) != "" {
		for value := range strings.SplitSeq(inner, ",") {
			requirement.Values = append(requirement.Values, strings.TrimSpace(value))
		}
	}
	return requirement, nil
}

func unreadable(text string) error {
	return Errorf(CodeInvalidRequest, "the selector has %q, which says nothing of a label; "+
		"write key=value, key!=value, key in (a, b), key notin (a, b), key or !key", clip(text))
}
