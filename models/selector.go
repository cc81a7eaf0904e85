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
