package models

import "time"

// TemplateSource says where a template comes from. Of several with one name an
// applied one counts before one of a file, and that before a built-in one.
type TemplateSource string

// The sources of templates.
const (
	SourceBuiltin TemplateSource = "built-in"
	// SourceFile is a file that the control plane read when it started.
	SourceFile TemplateSource = "file"
	// SourceApplied is an admin, through the API.
	SourceApplied TemplateSource = "applied"
)

// CatalogueEntry is a template that can be launched, and where it comes from.
type CatalogueEntry struct {
	Template
	Source TemplateSource
	// AppliedBy is the admin's name, for SourceApplied.
	AppliedBy string
	// UpdatedAt is when it was applied, or when it was read at a start.
	UpdatedAt time.Time
}
