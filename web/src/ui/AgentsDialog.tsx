import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { asProblem, type Problem } from "../api/problem";
import type { Agent } from "../api/types";
import { Dialog } from "./Dialog";
import { count, standing } from "./format";
import { ProblemNote } from "./ProblemNote";

interface AgentsDialogProps {
  agents: readonly Agent[];
  /** Says that an agent is gone for good; it rejects with a Problem. Undefined for who may not. */
  remove: ((id: string) => Promise<void>) | undefined;
  onDone(): void;
}

/** The agents and how they stand; an admin removes those here that are gone for good. */
export function AgentsDialog({ agents, remove, onDone }: AgentsDialogProps): JSX.Element {
  const [chosen, setChosen] = useState<Agent>();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const confirm = async (id: string): Promise<void> => {
    setBusy(true);
    setProblem(undefined);
    try {
      await remove?.(id);
      setChosen(undefined);
    } catch (thrown) {
      setProblem(asProblem(thrown));
    }
    setBusy(false);
  };
  if (chosen) {
    return (
      <Dialog title={`Is ${chosen.id} gone for good?`} onDismiss={() => setChosen(undefined)}>
        <p>
          Remove it only if nothing runs there any more. What is on it ({count(chosen.sessions, "session")}) fails, is placed anew, or moves with a shared home, as
          its template says. The agent's keys no longer work.
        </p>
        {problem && <ProblemNote problem={problem} />}
        <div class="dialog-actions">
          <button type="button" class="button" onClick={() => setChosen(undefined)} autofocus>
            Keep it
          </button>
          <button type="button" class="button danger" data-testid="confirm-remove" disabled={busy} onClick={() => void confirm(chosen.id)}>
            {busy ? "Removing…" : "Remove agent"}
          </button>
        </div>
      </Dialog>
    );
  }
  return (
    <Dialog title="Agents" onDismiss={onDone}>
      <ul class="rows" role="list">
        {agents.map((agent) => (
          <li class="row" key={agent.id}>
            <div class="row-text">
              <p class="row-name">{agent.id}</p>
              <p class="row-facts">{describe(agent)}</p>
            </div>
            {remove && !agent.connected && (
              <button type="button" class="button small danger-quiet" data-testid={`remove-agent-${agent.id}`} onClick={() => setChosen(agent)} aria-label={`Remove ${agent.id}`}>
                Remove
              </button>
            )}
          </li>
        ))}
      </ul>
      <div class="dialog-actions">
        <button type="button" class="button" onClick={onDone} autofocus>
          Close
        </button>
      </div>
    </Dialog>
  );
}

/** What an agent is, where, and how it stands. */
export function describe(agent: Agent): string {
  const place = [agent.platform, agent.region, agent.homeStore && `homes in ${agent.homeStore}`].filter(Boolean).join(", ");
  return `${place}: ${standing(agent, Date.now())}`;
}
