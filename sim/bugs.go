package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Bug is a mistake that could be in the product and is not: a change of its
// text that one of the invariants must notice. It is planted into a copy with
// the compiler's -overlay, so the product knows nothing of it.
type Bug struct {
	Name string
	// Invariants are those of which at least one must be violated.
	Invariants []string
	Edits      []Edit
}

// Edit replaces the only occurrence of Old in File, which is named from the
// module's root.
type Edit struct{ File, Old, New string }

// Bugs lists the planted bugs.
func Bugs() []Bug {
	return append([]Bug{
		{"epoch guard removed from WriteTransitions", []string{"H2"}, []Edit{{"db/transitions.go",
			"case transition.Epoch != 0 && epochs[transition.AgentID] != transition.Epoch:",
			"case transition.Epoch < 0:"}}},
		{"epochs do not rise", []string{"H1"}, []Edit{{"db/agents.go", "epoch = before + 1", "epoch = max(before, 1)"}}},
		{"an old socket's end unregisters the new one", []string{"H1"}, []Edit{{"websocket/hub.go",
			"if h.connections[c.peer.AgentID] == c {", "if c != nil {"}}},
		{"ended commands can be written again", []string{"D3"}, []Edit{{"db/transitions.go",
			"u.command_id AND status NOT IN ('completed', 'failed')", "u.command_id"}}},
		{"journal appends are not synced", []string{"D2"}, []Edit{{"agent/journal.go",
			"		err = j.options.Sync(j.file)\n", "		_ = j.options.Sync\n"}}},
		{"agent does not look into its journal for an outcome", []string{"D1", "D4"}, []Edit{{"agent/executor.go",
			"if ended, over := e.journal.Outcome(t.commandID); over {", "if ended, over := e.journal.Outcome(t.commandID); over && ended.Code == \"never\" {"}}},
		{"agent starts what it was told to stop", []string{"D4"}, []Edit{{"agent/effect.go",
			"t.ref.Generation > 0 && t.ref.Generation <= e.journal.Stopped(t.ref.SessionID)", "t.ref.Generation < 0"}}},
		{"agent does a session's commands side by side", []string{"D4", "R3", "R2", "R4"}, []Edit{{"agent/executor.go",
			"		<-t.before\n", "		_ = t.before\n"}}},
		{"dispatcher sends the newest command first", []string{"D4"}, []Edit{
			{"services/send.go", "return cmp.Compare(a.Seq, b.Seq) })", "return cmp.Compare(b.Seq, a.Seq) })"},
			{"services/send.go", "	blocked := map[string]bool{}\n", "	slices.Reverse(commands)\n	blocked := map[string]bool{}\n"}}},
		{"an overtaken start is sent", []string{"D4"}, []Edit{{"services/send.go", "case command.Overtaken:", "case command.Overtaken && command.Seq == 0:"}}},
		{"recorder forgets a batch that failed", []string{"D6", "R1"}, []Edit{{"services/recorder.go",
			"		err := r.transact(batch)\n		if err == nil {\n			return\n		}\n",
			"		err := r.transact(batch)\n		if err != nil {\n			r.drop(batch)\n		}\n		if try > 0 {\n			return\n		}\n"}}},
		{"recorder loses an end that it merges", []string{"D6", "R1"}, []Edit{{"services/recorder.go",
			"	if transition.End != nil && known.End == nil {\n", "	if !known.AckedAt.IsZero() {\n		transition.End = nil\n	}\n	if transition.End != nil && known.End == nil {\n"}}},
		{"nothing is sent again on a new connection", []string{"D6", "R1"}, []Edit{{"db/outgoing.go",
			"AND c.seq > %s AND c.seq <= %s AND c.sent_epoch < %s ORDER BY c.seq LIMIT %s`", "AND c.seq > %s AND c.seq <= %s AND c.sent_epoch < min(1, %s) ORDER BY c.seq LIMIT %s`"}}},
		{"nothing is sent again for want of an acknowledgement", []string{"D6", "R1"}, []Edit{{"services/poll.go",
			"for _, unanswered := range d.flows.overdue(time.Now()) {", "for _, unanswered := range d.flows.overdue(time.Now())[:0] {"}}},
		{"the poll finds nothing", []string{"D6", "R1"}, []Edit{{"services/poll.go",
			"	for _, agentID := range found {\n", "	for _, agentID := range found[:0] {\n"}}},
		{"deadlines do not expire", []string{"D6", "R1"}, []Edit{{"services/poll.go",
			"	for _, command := range overdue {\n", "	for _, command := range overdue[:0] {\n"}}},
		{"reconciler issues a new command beside the open one", []string{"S2"}, []Edit{
			{"db/commands.go", "(c.status NOT IN ('completed', 'failed') OR c.generation = s.generation)", "c.generation = s.generation"},
			{"db/commands.go", "			case ended(command.Status):\n", "			case true:\n"},
			{"services/reconciler.go", "		if one.Open != nil && here {\n", "		if one.Open = nil; one.Open != nil && here {\n"}}},
		{"agent ignores the verdict to stop", []string{"R4"}, []Edit{{"agent/frames.go",
			"if item.Verdict != wire.VerdictStop {", "if item.Verdict != \"\" {"}}},
		{"session and command are launched in two transactions", []string{"D2"}, []Edit{
			{"db/launch.go", "	if err := l.insertCommands(ctx, l.commands(written), l.now); err != nil {\n		return err\n	}\n", ""},
			{"db/launch.go", "	return launched, err\n}\n\n// launcher is one",
				"	for i := range launched {\n		if err == nil && launched[i].Err == nil && !launched[i].Existed && launches[i].Command.AgentID != \"\" {\n" +
					"			err = d.CreateCommand(ctx, &launches[i].Command, now)\n		}\n	}\n	return launched, err\n}\n\n// launcher is one"}}},
		{"an agent is gone as soon as it is not connected", []string{"H4"}, []Edit{{"services/plan.go",
			"silence > limits.agentGone && !s.held {", "silence >= 0 {"}}},
		{"what starts while it is listed is taken for lost", []string{"R2", "R4"}, []Edit{
			{"agent/report.go", "one.held || !one.since.Before(began)", "one.held || one.since.IsZero()"},
			{"services/plan.go", "if now.Sub(session.StateSince) < time.Duration(grace) {", "if grace < 0 {"}}},
		{"the guard does not count cpu", []string{"S1"}, []Edit{{"db/launch.go",
			"	requirements.Reserve = reserve\n", "	requirements.Reserve = models.Amount{Sessions: reserve.Sessions, Memory: reserve.Memory, GPUs: reserve.GPUs}\n"}}},
		{"the guard does not look at the cordon", []string{"S3"}, []Edit{{"db/launch.go",
			"if rejection.Code != models.RejectedSilent {", "if rejection.Code != models.RejectedSilent && rejection.Code != models.RejectedCordoned {"}}},
		{"a reservation leaves what others remember of the agent", []string{"S1"}, []Edit{{"db/tally.go",
			"{ return rand.Int64() }", "{ return 1 + 0*rand.Int64() }"}}},
		{"a lost race for the last room is written anyway", []string{"S1"}, []Edit{{"db/launch.go",
			"if rejection.Code != models.RejectedSilent {", "if rejection.Code != models.RejectedSilent && rejection.Code != models.RejectedFull {"}}},
		{"the guard does not check what is required of the agent", []string{"S3"}, []Edit{{"db/launch.go",
			"requirements, reserve := launch.Requirements, launch", "requirements, reserve := models.Requirements{}, launch"}}},
		{"sessions of one batch do not see each other", []string{"S1"}, []Edit{{"db/launch.go",
			"	agent.Reserved = agent.Reserved.Plus(reserve)\n", ""},
			{"services/placer.go", "		p.fleet.Hold(launch.Session.AgentID, one.criteria.reserves())\n", "		p.fleet.Hold(launch.Session.AgentID, models.Amount{})\n"}}},
		{"failed sessions keep what they reserved", []string{"S4"}, []Edit{{"db/agents.go",
			"const live = `state NOT IN ('terminated', 'failed')", "const live = `state NOT IN ('terminated')"}}},
		{"an agent that connects again forgets its drain's deadline", []string{"S3", "R1"}, []Edit{{"db/agents.go",
			"SET epoch = $2, status = $3, connected = true,", "SET epoch = $2, status = $3, drain_deadline = NULL, connected = true,"}}},
		{"a new connection ends a drain", []string{"S3"}, []Edit{{"db/agents.go",
			"		next := status\n		if status == models.AgentOffline {", "		next := status\n		if status != models.AgentOnline {"}}},
		{"a drain's deadline stops nothing", []string{"R1"}, []Edit{{"services/drain.go",
			"		for _, last = range overdue {\n", "		for _, last = range overdue[:0] {\n"}}},
		{"a drain stops sessions before its deadline", []string{"R2"}, []Edit{
			{"db/drain.go", "WHERE a.status = 'draining' AND a.drain_deadline <= $1 AND", "WHERE a.status = 'draining' AND a.drain_deadline <> $1 AND"},
			{"db/drain.go", "WHERE id = $1 AND status = 'draining' AND drain_deadline <= $2", "WHERE id = $1 AND status = 'draining' AND drain_deadline <> $2"}}},
		{"two replicas place a waiting session", []string{"S2", "R3"}, []Edit{
			{"db/launch.go", "case launch.Waits && (!existing.Waiting() ||", "case launch.Waits && (false ||"},
			{"db/launch.go", "AND sessions.state = 'pending' AND sessions.agent_id IS NULL", "AND sessions.state = 'pending'"},
			{"db/launch.go", "	if err == nil && int(placed) != len(waited) {", "	if err == nil && int(placed) < 0 {"}}},
		{"a replica that starts forgets who waits", []string{"R1"}, []Edit{{"services/waiting.go",
			"	ids, err := s.database.WaitingIDs(ctx, waitingBatch, s.reached, s.passBound)\n	if err != nil {",
			"	ids, err := s.database.WaitingIDs(ctx, waitingBatch, s.reached, s.passBound)\n	if !s.queued.Load() {\n		return 0, nil\n	}\n	if err != nil {"}}},
		{"a placed session keeps the explanation of its waiting", []string{"explained"}, []Edit{{"services/placer.go",
			"	if err == nil {\n		launch.Verdicts, err = keep(one.verdicts, one.left)", "	if err == nil && !launch.Waits {\n		launch.Verdicts, err = keep(one.verdicts, one.left)"}}},
		{"heartbeats do not change what an agent has", []string{"S1"}, []Edit{{"db/agents.go",
			"capacity = coalesce(`+capacity+`, agents.capacity)", "capacity = coalesce(agents.capacity, `+capacity+`)"}}},
		{"an agent is tried again with what it could not start", []string{"S3"}, []Edit{{"services/waiting.go",
			"	criteria.Avoid = session.FailedAgents()\n", ""}}},
	}, reconcilerBugs()...)
}

// Plant writes the bug's changed files into dir, and the overlay that has the
// compiler read them in the place of root's; it gives the overlay's path.
func (b Bug) Plant(root, dir string) (overlay string, err error) {
	replaced, texts := map[string]string{}, map[string][]byte{}
	for _, edit := range b.Edits {
		path := filepath.Join(root, edit.File)
		text, changed := texts[path]
		if !changed {
			if text, err = os.ReadFile(path); err != nil {
				return "", fmt.Errorf("plant %q: %w", b.Name, err)
			}
		}
		if found := bytes.Count(text, []byte(edit.Old)); found != 1 {
			return "", fmt.Errorf("plant %q: %s has the text %d times, not once; the table of bugs must follow the product: %s",
				b.Name, edit.File, found, edit.Old)
		}
		texts[path] = bytes.Replace(text, []byte(edit.Old), []byte(edit.New), 1)
	}
	for path, text := range texts {
		copied := filepath.Join(dir, fmt.Sprintf("%d-%s", len(replaced), filepath.Base(path)))
		if err := os.WriteFile(copied, text, 0o600); err != nil {
			return "", fmt.Errorf("plant %q: %w", b.Name, err)
		}
		replaced[path] = copied
	}
	content, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", fmt.Errorf("plant %q: %w", b.Name, err)
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, content, 0o600)
}
