import type { JSX } from "preact";
import type { Session } from "../api/types";
import { stateLabel } from "./format";

/** A session's state in a word and a colour. */
export function StateBadge({ session }: { session: Session }): JSX.Element {
  return (
    <span class="badge" data-testid="session-state" data-state={session.state}>
      <span class="dot" aria-hidden="true" />
      {stateLabel(session)}
    </span>
  );
}
