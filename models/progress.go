package models

import "fmt"

// Progress is how far the start of a session is, in its agent's words.
type Progress struct {
	// Message is for people, e.g. "pulling image desktop:1". Empty is nothing to
	// tell any more.
	Message string `json:"message" doc:"what its agent is at, for people"`
	// Percent is how much of that is done, from 0 to 100; 0 also when that is not
	// known.
	Percent int `json:"percent,omitempty" minimum:"0" maximum:"100" doc:"how much of that is done; absent while it is not known"`
}

// String gives one line: "pulling image desktop:1, 43 %".
func (p Progress) String() string {
	if p.Percent == 0 || p.Message == "" {
		return p.Message
	}
	return fmt.Sprintf("%s, %d %%", p.Message, p.Percent)
}
