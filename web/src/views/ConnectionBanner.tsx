import type { JSX } from "preact";
import type { Console } from "../store/console";
import { useStore } from "../store/store";
import { ProblemNote } from "../ui/ProblemNote";

/** Says so when what the page shows may be out of date, and when the control plane waits for agents that are away. */
export function ConnectionBanner({ model }: { model: Console }): JSX.Element | null {
  const problem = useStore(model.store, (state) => state.problem);
  const stream = useStore(model.store, (state) => state.stream);
  const hold = useStore(model.store, (state) => state.hold);
  if (problem) {
    return (
      <ProblemNote problem={problem}>
        <button type="button" class="button small" onClick={() => model.retry()}>
          Try again
        </button>
      </ProblemNote>
    );
  }
  if (stream === "reconnecting") {
    return (
      <p class="banner" role="status">
        <span class="spinner" aria-hidden="true" /> Live updates are interrupted. Reconnecting…
      </p>
    );
  }
  if (hold) {
    return (
      <p class="banner" role="status">
        No session is given up for now: {hold}.
      </p>
    );
  }
  return null;
}
