package models

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// The limits of Kubernetes for the parts of a label, in bytes, and ours for how
// many there are.
const (
	maxLabelName   = 63
	maxLabelPrefix = 253
	maxLabels      = 64
)

var (
	labelName   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	labelPrefix = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
)

// ValidateLabels checks what an agent is labelled with: at most 64 labels, in
// the syntax of Kubernetes. Errors have CodeInvalidRequest and name the first
// key, in alphabetical order, that is wrong.
func ValidateLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return Errorf(CodeInvalidRequest, "there are %d labels; keep at most %d", len(labels), maxLabels)
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if err := validateLabelKey(key); err != nil {
			return err
		}
		if err := validateLabelValue(key, labels[key]); err != nil {
			return err
		}
	}
	return nil
}

// validateLabelKey checks a key: a name, or a DNS name, a slash and a name.
func validateLabelKey(key string) error {
	prefix, name, prefixed := strings.Cut(key, "/")
	if !prefixed {
		name = key
	}
	if len(name) > maxLabelName || !labelName.MatchString(name) {
		return Errorf(CodeInvalidRequest, "the label key %q must end in a name of letters, digits, dots, dashes and underscores, "+
			"at most %d, that begins and ends with a letter or digit", clip(key), maxLabelName)
	}
	if prefixed && (len(prefix) > maxLabelPrefix || !labelPrefix.MatchString(prefix)) {
		return Errorf(CodeInvalidRequest, "the label key %q must have a DNS name in lower case before its slash, such as example.com/%s",
			clip(key), name)
	}
	return nil
}

func validateLabelValue(key, value string) error {
	if value != "" && (len(value) > maxLabelName || !labelName.MatchString(value)) {
		return Errorf(CodeInvalidRequest, "the value %q of label %q must be empty, or letters, digits, dots, dashes and underscores, "+
			"at most %d, that begin and end with a letter or digit", clip(value), key, maxLabelName)
	}
	return nil
}

// clip keeps what is quoted in an error readable.
func clip(text string) string {
	if len(text) <= maxLabelName+1 {
		return text
	}
	return strings.ToValidUTF8(text[:maxLabelName], "") + "…"
}
