import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { asProblem, type Problem } from "../api/problem";
import type { Session } from "../api/types";
import { Dialog } from "./Dialog";
import { ProblemNote } from "./ProblemNote";

interface StopDialogProps {
  session: Session;
  /** Asks for the session's end; it rejects with a Problem. */
  stop(): Promise<void>;
  onDone(): void;
}

/** Asks once more before a session is stopped, since that ends what runs in it. */
export function StopDialog({ session, stop, onDone }: StopDialogProps): JSX.Element {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const confirm = async (): Promise<void> => {
    setBusy(true);
    setProblem(undefined);
    try {
      await stop();
      onDone();
    } catch (thrown) {
      setProblem(asProblem(thrown));
      setBusy(false);
    }
  };
  return (
    <Dialog title={`Stop “${session.name}”?`} onDismiss={onDone}>
      <p>Every program in the session ends, and work that is not saved is lost. Closing the page instead keeps it running.</p>
      {problem && <ProblemNote problem={problem} />}
      <div class="dialog-actions">
        <button type="button" class="button" onClick={onDone} autofocus>
          Keep running
        </button>
        <button type="button" class="button danger" data-testid="confirm-stop" disabled={busy} onClick={() => void confirm()}>
          {busy ? "Stopping…" : "Stop session"}
        </button>
      </div>
    </Dialog>
  );
}
