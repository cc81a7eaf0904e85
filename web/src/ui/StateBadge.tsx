import type { JSX } from "preact";
import type { SessionState } from "../api/types";
import { stateLabel } from "./format";

/** A session's state in a word and a colour. */
export function StateBadge({ state }: { state: SessionState }): JSX.Element {
  return (
    <span class="badge" data-testid="session-state" data-state={state}>
      <span class="dot" aria-hidden="true" />
      {stateLabel(state)}
    </span>
  );
}
