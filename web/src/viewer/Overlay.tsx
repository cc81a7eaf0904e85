import type { JSX } from "preact";
import { Icon } from "../ui/icons";
import type { Phase } from "./phase";

interface OverlayProps {
  phase: Phase;
  onBack(): void;
  /** Launches the same template again. */
  onAgain(): void;
  /** Wakes a session that is asleep. */
  onWake(): void;
  /** Tries to reconnect at once. */
  onRetry(): void;
}

/** Says what is going on while there is no live picture. */
export function Overlay({ phase, onBack, onAgain, onWake, onRetry }: OverlayProps): JSX.Element {
  const over = phase.kind === "ended" || phase.kind === "failed" || phase.kind === "refused";
  const closed = phase.kind === "missing" || phase.kind === "forbidden";
  const bad = phase.kind === "failed" || phase.kind === "refused" || closed;
  return (
    <div class="overlay" data-testid="viewer-overlay">
      <div class="overlay-card">
        {phase.busy && <span class="spinner large" aria-hidden="true" />}
        {bad && (
          <span class="overlay-icon">
            <Icon name="alert" size={28} />
          </span>
        )}
        <h1>{phase.title}</h1>
        {phase.detail && (
          <p data-testid="viewer-reason">
            {phase.detail} {phase.code && <code class="code">{phase.code}</code>}
          </p>
        )}
        <div class="overlay-actions">
          {phase.kind === "reconnecting" && (
            <button type="button" class="button primary" onClick={onRetry}>
              Reconnect now
            </button>
          )}
          {phase.kind === "asleep" && (
            <button type="button" class="button primary" data-testid="wake-session" onClick={onWake}>
              Wake it
            </button>
          )}
          {over && (
            <button type="button" class="button primary" data-testid="launch-again" onClick={onAgain}>
              {phase.kind === "refused" ? "Try again" : "Launch again"}
            </button>
          )}
          {(over || closed || phase.kind === "asleep") && (
            <button type="button" class="button" onClick={onBack}>
              All sessions
            </button>
          )}
        </div>
      </div>
    </div>
  );
}
