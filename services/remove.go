package services

import (
	"context"
	"fmt"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// Remove takes a person's word that an agent is gone for good: its row and its
// keys are deleted, and its sessions fail, are placed anew, or hibernate on an agent
// that shares their home, from where they are woken, as their templates say. It gives
// these sessions. force removes it although it has some. actor is whom the history
// names.
//
// Errors: models.CodeAgentUnknown, models.CodeAgentConnected, models.CodeAgentInUse.
func (s *Sessions) Remove(ctx context.Context, agentID, actor string, force bool) ([]models.Session, error) {
	now := s.options.Now()
	until := now.Add(DefaultMoveFor)
	reason := fmt.Sprintf("agent %q was removed by %s", agentID, models.ActorName(actor))
	left, err := s.database.RemoveAgent(ctx, db.Removal{AgentID: agentID, Actor: actor, Force: force, Within: wire.StaleAfter,
		Decide: func(session models.Session, shares *models.Agent) db.ForcedEnd {
			decided := planDeserted(session, desertion{forever: true, dead: true, shared: shares != nil, reason: reason}, now)
			if decided.step == leave { // it has been begun again too often to be so once more at once
				decided = end(session, reason, models.CodeAgentUnavailable)
			}
			end := forced(session, decided)
			end.Actor = actor
			switch {
			case decided.step == recreate:
				end.Again.WaitUntil = now.Add(s.options.WaitFor)
			case decided.step == rehome:
				end.Rehome = &db.Rehome{Agent: *shares}
				if session.State == models.SessionRunning {
					end.Rehome.MoveUntil = &until
				}
			}
			return end
		}}, now)
	if err != nil {
		return nil, err
	}
	//failpoint:remove-agent-committed
	s.options.Logger.Warn("agent removed", "agent", agentID, "actor", actor, "sessions", len(left))
	return left, nil
}
