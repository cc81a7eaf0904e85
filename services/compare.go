package services

import (
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// compare judges an agent's inventory by the sessions that are placed on it
// and have not ended. It is a pure function. Every item gets a verdict, in its
// order. absent are the sessions that should have a runtime and have none.
func compare(sessions []models.Session, items []wire.InventoryItem) (verdicts []wire.VerdictItem, absent []models.Session) {
	placed := make(map[string]models.Session, len(sessions))
	for _, session := range sessions {
		placed[session.ID] = session
	}
	newest := make(map[string]int64, len(items))
	for _, item := range items {
		newest[item.SessionID] = max(newest[item.SessionID], item.Generation)
	}
	verdicts = make([]wire.VerdictItem, 0, len(items))
	for _, item := range items {
		verdict := wire.VerdictItem{SessionID: item.SessionID, Generation: item.Generation, Verdict: wire.VerdictKeep}
		switch session, known := placed[item.SessionID]; {
		case !known || unwanted(session, item) || item.Generation < newest[item.SessionID]:
			verdict.Verdict = wire.VerdictStop
		case adoptable(session, item):
			verdict.Verdict = wire.VerdictAdopt
		}
		verdicts = append(verdicts, verdict)
	}
	for _, session := range sessions {
		if _, runs := newest[session.ID]; !runs && needsRuntime(session.State) {
			absent = append(absent, session)
		}
	}
	return verdicts, absent
}

// unwanted tells that the runtime was to end: the session is to be without one,
// at the item's generation or later, or has been begun again since. An item
// without generation is taken for the session's own.
func unwanted(session models.Session, item wire.InventoryItem) bool {
	if session.DesiredState == models.DesiredRunning {
		return item.Generation != 0 && item.Generation < session.Generation
	}
	return session.Generation >= item.Generation
}

// adoptable tells that the runtime is what the session waits for. One whose
// start is under way still is not: it may fail.
func adoptable(session models.Session, item wire.InventoryItem) bool {
	return (session.State == models.SessionPending || session.State == models.SessionWaking) &&
		session.DesiredState == models.DesiredRunning && item.Generation == session.Generation && item.State == string(models.SessionRunning)
}

// needsRuntime tells that the agent should know of a runtime. States that a
// command is about to end are left to that command.
func needsRuntime(state models.SessionState) bool {
	return state == models.SessionRunning || state == models.SessionTerminating
}
