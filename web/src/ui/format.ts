import type { Agent, Session, SessionEvent, SessionState } from "../api/types";

const stateWords: Record<SessionState, string> = {
  pending: "Starting",
  running: "Running",
  hibernating: "Going to sleep",
  hibernated: "Asleep",
  waking: "Waking up",
  terminating: "Stopping",
  terminated: "Ended",
  failed: "Failed",
};

/** The state in a person's words. */
export function stateLabel({ state, agentId, waitUntil }: Pick<Session, "state" | "agentId" | "waitUntil">): string {
  if (state === "pending" && !agentId && waitUntil) return "Waiting";
  return stateWords[state] ?? state;
}

/**
 * Why the session is where it is: the server's reason, or for a session on its
 * way somewhere what it waits for. Undefined when there is nothing to explain.
 */
export function explain(session: Session): string | undefined {
  if (session.queue) {
    const before = session.queue.place - 1;
    const place = before === 0 ? "It is next" : `${count(before, "session")} before it`;
    return `${place}${session.reason ? `: ${session.reason}` : "."}`;
  }
  if (session.progress) return progressLine(session.progress);
  if (session.reason) return session.reason;
  const agent = session.agentId ? `agent ${session.agentId}` : undefined;
  switch (session.state) {
    case "pending":
      return agent ? `Waiting for ${agent} to start it.` : "Waiting for an agent to take it.";
    case "waking":
      return agent ? `Waiting for ${agent} to wake it up.` : undefined;
    case "terminating":
      return agent ? `Waiting for ${agent} to stop it.` : undefined;
    case "failed":
      return "The server gave no reason.";
    default:
      return undefined;
  }
}

/** How far a start is: "Pulling image desktop:1, 43 %". */
export function progressLine({ message, percent }: NonNullable<Session["progress"]>): string {
  const line = message.charAt(0).toUpperCase() + message.slice(1);
  return percent ? `${line}, ${percent} %` : line;
}

/**
 * That the session's agent is away, since when, and what that means: "Agent laptop-2
 * has not been heard of since 12:03; the session keeps running there."
 */
export function awayNotice({ unreachable, agentId, state }: Session, now: number): string | undefined {
  if (!unreachable) return undefined;
  const since = unreachable.since ? ` since ${clock(unreachable.since, now)}` : "";
  const meanwhile = { pending: "the session starts when it is back", terminating: "the session is stopped when it is back" }[state as string];
  return `Agent ${agentId} has not been heard of${since}; ${meanwhile ?? "the session keeps running there"}.`;
}

/** A moment as people say it: the time, and the day if that is another one. */
function clock(moment: string, now: number): string {
  const at = new Date(moment);
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return at.toDateString() === new Date(now).toDateString() ? time : `${at.toLocaleDateString()} ${time}`;
}

/** What a line of a session's history tells, without its reason: "Running → Starting, by reconciler". */
export function eventLine({ from, to, actor }: Pick<SessionEvent, "from" | "to" | "actor">): string {
  const states = from && from !== to ? `${stateWords[from] ?? from} → ${stateWords[to] ?? to}` : from ? (stateWords[to] ?? to) : "Launched";
  return `${states}, by ${actor.replace(/^user:/, "").replace(/^agent:/, "agent ")}`;
}

/** How long ago a moment was, roughly: "just now", "5 min ago", "3 h ago", "2 days ago". */
export function ago(moment: string, now: number): string {
  const seconds = Math.max(0, Math.floor((now - Date.parse(moment)) / 1000));
  if (Number.isNaN(seconds)) return "";
  if (seconds < 45) return "just now";
  const minutes = Math.max(1, Math.round(seconds / 60));
  if (minutes < 60) return `${minutes} min ago`;
  const hours = Math.round(minutes / 60);
  if (hours < 36) return `${hours} h ago`;
  const days = Math.round(hours / 24);
  return `${days} days ago`;
}

const minuteMs = 60_000;

/** How long before a time limit people are told of it; half of a shorter limit. */
const noticeMs = 10 * minuteMs;

/**
 * What a running session's next time limit does to it and when, once that is
 * near: "Stops in 4 min unless it is used". Undefined before.
 */
export function limitNotice(session: Session, now: number): string | undefined {
  if (session.state !== "running") return undefined;
  const limits = [
    { at: session.expiresAt, limit: session.maxDuration, unless: "" },
    { at: session.idleAt, limit: session.idleTimeout, unless: " unless it is used" },
  ]
    .map(({ at, limit, unless }) => ({ left: Date.parse(at ?? "") - now, near: Math.min(noticeMs, durationMs(limit ?? "") / 2), unless }))
    .filter(({ left, near }) => left < near)
    .sort((a, b) => a.left - b.left);
  if (!limits[0]) return undefined;
  const minutes = Math.ceil(limits[0].left / minuteMs);
  return `${session.onLimit === "hibernate" ? "Goes to sleep" : "Stops"} ${minutes > 0 ? `in ${minutes} min` : "now"}${limits[0].unless}`;
}

/** Reads a duration as the server writes it: 1h30m5s. */
function durationMs(text: string): number {
  const units: Record<string, number> = { h: 60 * minuteMs, m: minuteMs, s: 1000 };
  return [...text.matchAll(/([\d.]+)([hms])/g)].reduce((sum, [, amount, unit]) => sum + Number(amount) * (units[unit ?? ""] ?? 0), 0);
}

/** A count with its noun: "1 agent", "2 agents". */
export function count(amount: number, noun: string): string {
  return `${amount} ${noun}${amount === 1 ? "" : "s"}`;
}

/** An agent's status, what keeps new sessions away from it, and how many it has. */
export function standing(agent: Agent, now: number): string {
  if (agent.status !== "draining") {
    return `${agent.status}${agent.cordoned ? ", cordoned" : ""}, ${count(agent.sessions, "session")}`;
  }
  const parts = ["draining", `${agent.sessions === 0 ? "no session" : count(agent.sessions, "session")} left`];
  if (agent.drainDeadline && agent.sessions > 0) {
    const minutes = Math.ceil((Date.parse(agent.drainDeadline) - now) / 60_000);
    parts.push(`stops ${agent.sessions === 1 ? "it" : "them"} ${minutes > 0 ? `in ${minutes} min` : "now"}`);
  }
  for (const what of ["moved", "hibernated", "stopped"] as const) {
    if (agent.drained?.[what]) parts.push(`${agent.drained[what]} ${what}`);
  }
  return parts.join(", ");
}
