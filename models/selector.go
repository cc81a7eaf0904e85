package models

import (
	"fmt"
	"slices"
	"strings"
)

// Selector chooses by labels: every requirement must hold. The zero value
// chooses everything.
type Selector []LabelRequirement

// LabelOperator is how a LabelRequirement compares. They are those of
// Kubernetes' set-based selectors.
type LabelOperator string

// The label operators.
const (
	LabelIn        LabelOperator = "In"
	LabelNotIn     LabelOperator = "NotIn"
	LabelExists    LabelOperator = "Exists"
	LabelNotExists LabelOperator = "DoesNotExist"
)

// LabelRequirement is a condition on one label. Values belong to In and NotIn.
type LabelRequirement struct {
	Key      string        `json:"key"`
	Operator LabelOperator `json:"operator"`
	Values   []string      `json:"values,omitempty"`
}

// The most that a selector may hold. The control plane compares all of it with
// every agent.
const (
	maxRequirements = 32
	maxValues       = 64
)

// Validate checks a selector that did not come from ParseSelector: at most 32
// requirements, each with a known operator, a key in the syntax of Kubernetes
// labels, and values where the operator compares some, at most 64. Errors have
// CodeInvalidRequest.
func (s Selector) Validate() error {
	if len(s) > maxRequirements {
		return Errorf(CodeInvalidRequest, "the selector has %d requirements; keep at most %d", len(s), maxRequirements)
	}
	for _, requirement := range s {
		if err := requirement.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (r LabelRequirement) validate() error {
	if err := validateLabelKey(r.Key); err != nil {
		return err
	}
	switch r.Operator {
	case LabelIn, LabelNotIn:
		if len(r.Values) == 0 || len(r.Values) > maxValues {
			return Errorf(CodeInvalidRequest, "the selector compares label %q with %d values; name 1 to %d", r.Key, len(r.Values), maxValues)
		}
	case LabelExists, LabelNotExists:
		if len(r.Values) > 0 {
			return Errorf(CodeInvalidRequest, "the selector only asks whether label %q exists, yet names values; leave them out, or compare with %s or %s",
				r.Key, LabelIn, LabelNotIn)
		}
	default:
		return Errorf(CodeInvalidRequest, "the selector has operator %q for label %q; use %s, %s, %s or %s",
			clip(string(r.Operator)), r.Key, LabelIn, LabelNotIn, LabelExists, LabelNotExists)
	}
	for _, value := range r.Values {
		if err := validateLabelValue(r.Key, value); err != nil {
			return err
		}
	}
	return nil
}

// Mismatch gives the first requirement that the labels do not fulfil, in words,
// or nothing. As in Kubernetes, NotIn also holds without the label.
func (s Selector) Mismatch(labels map[string]string) string {
	for _, requirement := range s {
		if !requirement.holds(labels) {
			return requirement.String()
		}
	}
	return ""
}

func (r LabelRequirement) holds(labels map[string]string) bool {
	value, has := labels[r.Key]
	switch r.Operator {
	case LabelIn:
		return has && slices.Contains(r.Values, value)
	case LabelNotIn:
		return !has || !slices.Contains(r.Values, value)
	case LabelNotExists:
		return !has
	}
	return has
}

// String writes the selector as ParseSelector reads it; nothing for one that
// chooses everything.
func (s Selector) String() string {
	parts := make([]string, 0, len(s))
	for _, requirement := range s {
		parts = append(parts, requirement.String())
	}
	return strings.Join(parts, ", ")
}

// String writes the requirement as ParseSelector reads it.
func (r LabelRequirement) String() string {
	switch r.Operator {
	case LabelIn:
		if len(r.Values) == 1 {
			return r.Key + "=" + r.Values[0]
		}
		return fmt.Sprintf("%s in (%s)", r.Key, strings.Join(r.Values, ", "))
	case LabelNotIn:
		if len(r.Values) == 1 {
			return r.Key + "!=" + r.Values[0]
		}
		return fmt.Sprintf("%s notin (%s)", r.Key, strings.Join(r.Values, ", "))
	case LabelNotExists:
		return "!" + r.Key
	}
	return r.Key
}
