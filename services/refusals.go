package services

import "time"

// refusals are what was refused while a batch was decided on, by kind: whatever
// is of such a kind is refused as well, without another look at every agent.
// Holds only make the fleet fuller meanwhile.
type refusals map[string]refusal

type refusal struct {
	// read is when the picture was read that it was refused by.
	read     time.Time
	verdicts []Verdict
	err      error
}

// of gives the refusal of a kind by a picture that is not too old for this one.
func (r refusals) of(kind string, one *placing) (refusal, bool) {
	known, found := r[kind]
	return known, found && known.read.After(one.asked)
}
