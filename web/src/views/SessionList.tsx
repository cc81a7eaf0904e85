import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { asProblem, type Problem } from "../api/problem";
import type { Session, Template } from "../api/types";
import { isEnded } from "../api/types";
import type { Router } from "../router";
import { endedSessions, liveSessions, type Console } from "../store/console";
import { useStore } from "../store/store";
import { ago, awayNotice, explain, limitNotice, stateLabel } from "../ui/format";
import { HistoryDialog } from "../ui/HistoryDialog";
import { Icon, templateIcon } from "../ui/icons";
import { StateBadge } from "../ui/StateBadge";
import { StopDialog } from "../ui/StopDialog";
import { useNow } from "../ui/useNow";

/** How many sessions that ended are still listed. */
const endedShown = 20;

interface SessionListProps {
  model: Console;
  router: Router;
  launch(template: string, name?: string): void;
}

export function SessionList({ model, router, launch }: SessionListProps): JSX.Element {
  const sessions = useStore(model.store, (state) => state.sessions);
  const known = useStore(model.store, (state) => state.sessionsKnown);
  const templates = useStore(model.store, (state) => state.templates);
  const user = useStore(model.store, (state) => state.user);
  const [stopping, setStopping] = useState<Session>();
  const [shown, setShown] = useState<Session>();
  const [refused, setRefused] = useState<{ id: string; problem: Problem }>();
  const now = useNow();
  const live = liveSessions(sessions);
  const ended = endedSessions(sessions, endedShown);

  const row = (session: Session): JSX.Element => (
    <SessionRow
      key={session.id}
      session={session}
      template={templates?.find((template) => template.name === session.template)}
      owner={user && session.user !== user.name ? session.user : undefined}
      now={now}
      open={() => router.session(session.id)}
      stop={() => setStopping(session)}
      history={() => setShown(session)}
      refused={refused?.id === session.id ? refused.problem : undefined}
      hibernate={() => {
        setRefused(undefined);
        model.hibernate(session.id).catch((thrown: unknown) => setRefused({ id: session.id, problem: asProblem(thrown) }));
      }}
      again={() => launch(session.template, session.name)}
    />
  );

  return (
    <section aria-labelledby="sessions-heading" class="section">
      <h2 id="sessions-heading">
        My sessions {live.length > 0 && <span class="count">{live.length}</span>}
      </h2>
      <p class="visually-hidden" role="status">
        {live.map((session) => `${session.name}: ${stateLabel(session)}.`).join(" ")}
      </p>
      {known && live.length === 0 && <p class="empty">Nothing is running. Launch a session above; it keeps running when you close this page.</p>}
      {live.length > 0 && (
        <ul class="card rows" role="list" data-testid="sessions">
          {live.map(row)}
        </ul>
      )}
      {ended.length > 0 && (
        <details class="ended" data-testid="ended-sessions" open={ended.some((session) => session.state === "failed") || live.length === 0}>
          <summary>Ended</summary>
          <ul class="card rows" role="list">
            {ended.map(row)}
          </ul>
        </details>
      )}
      {shown && <HistoryDialog session={sessions.get(shown.id) ?? shown} history={() => model.history(shown.id)} onDone={() => setShown(undefined)} />}
      {stopping && <StopDialog session={stopping} stop={() => model.stop(stopping.id)} onDone={() => setStopping(undefined)} />}
    </section>
  );
}

interface SessionRowProps {
  session: Session;
  template: Template | undefined;
  /** Whose session it is, when it is somebody else's. */
  owner: string | undefined;
  now: number;
  /** Why it could not be hibernated. */
  refused: Problem | undefined;
  open(): void;
  stop(): void;
  history(): void;
  hibernate(): void;
  again(): void;
}

function SessionRow({ session, template, owner, now, refused, open, stop, history, hibernate, again }: SessionRowProps): JSX.Element {
  const ended = isEnded(session.state);
  const why = refused?.detail ?? explain(session);
  const ending = limitNotice(session, now);
  const away = awayNotice(session, now);
  const code = refused?.code ?? session.reasonCode;
  const facts = [
    template?.displayName ?? session.template,
    ended ? `ended ${ago(session.stateSince, now)}` : `launched ${ago(session.createdAt, now)}`,
    owner && `of ${owner}`,
    session.agentId && `on ${session.agentId}`,
  ].filter(Boolean);
  return (
    <li class="row" data-testid={`session-row-${session.id}`}>
      <span class={`tile small tile-${templateIcon(template?.icon ?? session.template)}`}>
        <Icon name={templateIcon(template?.icon ?? session.template)} size={18} />
      </span>
      <div class="row-text">
        <p class="row-name">
          {ended ? (
            session.name
          ) : (
            <a
              href={`/sessions/${session.id}`}
              onClick={(event) => {
                if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
                event.preventDefault();
                open();
              }}
            >
              {session.name}
            </a>
          )}
        </p>
        <p class="row-facts">{facts.join(" · ")}</p>
        {away && (
          <p class="row-reason" data-testid="session-unreachable">
            {away}
          </p>
        )}
        {ending && (
          <p class="row-reason" data-testid="session-ending">
            {ending}
          </p>
        )}
        {why && (
          <p class={`row-reason ${session.state === "failed" ? "bad-text" : ""}`} data-testid="session-reason">
            {why} {code && <code class="code">{code}</code>}
          </p>
        )}
      </div>
      <StateBadge session={session} />
      <div class="row-actions">
        <button type="button" class="button small" data-testid="show-history" onClick={history} aria-label={`What happened to ${session.name}`}>
          History
        </button>
        {ended ? (
          <button type="button" class="button small" onClick={again} disabled={template?.available === false} aria-label={`Launch ${session.name} again`}>
            Launch again
          </button>
        ) : (
          <>
            <button type="button" class="button small" data-testid="open-session" onClick={open} aria-label={`Open ${session.name}`}>
              Open
            </button>
            {session.state === "running" && template?.persistentHome && (
              <button type="button" class="button small" data-testid="hibernate-session" onClick={hibernate} aria-label={`Hibernate ${session.name}`}>
                Hibernate
              </button>
            )}
            <button
              type="button"
              class="button small danger-quiet"
              data-testid="stop-session"
              onClick={stop}
              disabled={session.state === "terminating"}
              aria-label={`Stop ${session.name}`}
            >
              Stop
            </button>
          </>
        )}
      </div>
    </li>
  );
}
