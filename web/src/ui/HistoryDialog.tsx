import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { asProblem, type Problem } from "../api/problem";
import type { Session, SessionEvent } from "../api/types";
import { Dialog } from "./Dialog";
import { ProblemNote } from "./ProblemNote";
import { eventLine } from "./format";

interface HistoryDialogProps {
  session: Session;
  /** Gives what has happened, oldest first; it rejects with a Problem. */
  history(): Promise<SessionEvent[]>;
  onDone(): void;
}

/** Tells what happened to a session, when, by whom and why, and follows it. */
export function HistoryDialog({ session, history, onDone }: HistoryDialogProps): JSX.Element {
  const [events, setEvents] = useState<SessionEvent[]>();
  const [problem, setProblem] = useState<Problem>();
  useEffect(() => {
    let wanted = true;
    history().then(
      (all) => wanted && (setEvents(all), setProblem(undefined)),
      (thrown: unknown) => wanted && setProblem(asProblem(thrown)),
    );
    return () => {
      wanted = false;
    };
  }, [session.id, session.updatedAt]);
  return (
    <Dialog title={`What happened to “${session.name}”`} onDismiss={onDone}>
      {problem && <ProblemNote problem={problem} />}
      {!problem && !events && <p>Reading…</p>}
      {events && (
        <ol class="history" role="list" data-testid="session-history">
          {events.map((event) => (
            <li key={event.id}>
              <time dateTime={event.at}>{new Date(event.at).toLocaleString()}</time> {eventLine(event)}
              {event.reason && <p class="row-reason">{event.reason}</p>}
            </li>
          ))}
        </ol>
      )}
      <div class="dialog-actions">
        <button type="button" class="button" onClick={onDone} autofocus>
          Close
        </button>
      </div>
    </Dialog>
  );
}
