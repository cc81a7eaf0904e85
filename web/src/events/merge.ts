import { isEnded, type Session } from "../api/types";

/** Sessions by id. */
export type Sessions = ReadonlyMap<string, Session>;

/**
 * Takes in what was heard of one session, unless more is known already. News may
 * arrive out of order, since answers to requests and the event stream overtake
 * each other: an ended session stays ended, a generation never falls, and within
 * one the later change holds.
 */
export function mergeSession(known: Sessions, heard: Session): Sessions {
  const old = known.get(heard.id);
  if (old && isNewer(old, heard)) return known;
  return new Map(known).set(heard.id, heard);
}

/** Takes in each of several sessions. */
export function mergeSessions(known: Sessions, heard: readonly Session[]): Sessions {
  return heard.reduce(mergeSession, known);
}

/**
 * Lists the sessions that a snapshot of all live sessions should have named and
 * did not. They ended, or were removed, while nobody listened: only asking for
 * each tells how.
 */
export function vanished(known: Sessions, snapshot: readonly Session[]): string[] {
  const named = new Set(snapshot.map((session) => session.id));
  return [...known.values()]
    .filter((session) => !isEnded(session.state) && !named.has(session.id))
    .map((session) => session.id);
}

/** Forgets a session. */
export function removeSession(known: Sessions, id: string): Sessions {
  const rest = new Map(known);
  rest.delete(id);
  return rest;
}

function isNewer(old: Session, heard: Session): boolean {
  if (isEnded(old.state) !== isEnded(heard.state)) return isEnded(old.state);
  if (old.generation !== heard.generation) return old.generation > heard.generation;
  return Date.parse(old.updatedAt) > Date.parse(heard.updatedAt);
}
