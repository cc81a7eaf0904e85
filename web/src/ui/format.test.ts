import { expect, test } from "vitest";
import type { Agent, Session, SessionState } from "../api/types";
import { ago, awayNotice, eventLine, explain, limitNotice, standing, stateLabel } from "./format";

function session(state: SessionState, changes: Partial<Session> = {}): Session {
  return { id: "s", state, ...changes } as Session;
}

test("whatever is under way says whom it waits for", () => {
  for (const state of ["pending", "waking", "terminating"] as const) {
    expect(explain(session(state, { agentId: "laptop" })), state).toContain("agent laptop");
  }
  expect(explain(session("pending"))).toBe("Waiting for an agent to take it.");
});

test("the server's reason comes first, and what runs needs none", () => {
  expect(explain(session("pending", { agentId: "laptop", reason: "agent laptop is away" }))).toBe("agent laptop is away");
  expect(explain(session("failed"))).toBe("The server gave no reason.");
  for (const state of ["running", "hibernated", "terminated"] as const) expect(explain(session(state))).toBeUndefined();
});

test("every state has a word, and one of a newer server is its own", () => {
  const states: SessionState[] = ["pending", "running", "hibernating", "hibernated", "waking", "terminating", "terminated", "failed"];
  expect(new Set(states.map((state) => stateLabel(session(state)))).size).toBe(states.length);
  expect(stateLabel(session("migrating" as SessionState))).toBe("migrating");
});

test("what waits for an agent says its place", () => {
  const waits = session("pending", { waitUntil: "2030-04-01T12:00:00Z", reason: "all are full", queue: { place: 3, of: 7 } });
  expect(stateLabel(waits)).toBe("Waiting");
  expect(stateLabel({ ...waits, agentId: "laptop" })).toBe("Starting");
  expect(explain(waits)).toBe("2 sessions before it: all are full");
  expect(explain({ ...waits, queue: { place: 1, of: 7 } })).toBe("It is next: all are full");
});

test("how far a start is comes before why it waits", () => {
  const pulls = session("pending", { agentId: "laptop", reason: "its agent had it no more", progress: { message: "pulling image desk:1", percent: 43 } });
  expect(explain(pulls)).toBe("Pulling image desk:1, 43 %");
  expect(explain({ ...pulls, progress: { message: "pulling image desk:1" } })).toBe("Pulling image desk:1");
});

test("times are never in the future nor a zero", () => {
  const now = Date.parse("2030-04-01T12:00:00Z");
  const before = (seconds: number): string => ago(new Date(now - seconds * 1000).toISOString(), now);
  expect([-60, 0, 44, 45, 89, 90, 3569, 3570, 5400, 126_000, 130_000].map(before)).toEqual([
    "just now", "just now", "just now", "1 min ago", "1 min ago", "2 min ago", "59 min ago", "1 h ago", "2 h ago", "35 h ago", "2 days ago",
  ]);
});

test("an agent out of service says so, and what it waits for", () => {
  const now = Date.parse("2030-04-01T12:00:00Z");
  const say = (changes: Partial<Agent>): string => standing({ id: "a", status: "online", sessions: 3, cordoned: false, ...changes } as Agent, now);
  const deadline = "2030-04-01T12:03:10Z";
  expect(say({})).toBe("online, 3 sessions");
  expect(say({ cordoned: true })).toBe("online, cordoned, 3 sessions");
  expect(say({ status: "draining" })).toBe("draining, 3 sessions left");
  expect(say({ status: "draining", drainDeadline: deadline })).toBe("draining, 3 sessions left, stops them in 4 min");
  expect(say({ status: "draining", drainDeadline: deadline, sessions: 1 })).toBe("draining, 1 session left, stops it in 4 min");
  expect(say({ status: "draining", drainDeadline: "2030-04-01T11:00:00Z" })).toBe("draining, 3 sessions left, stops them now");
  expect(say({ status: "draining", drainDeadline: deadline, sessions: 0 })).toBe("draining, no session left");
  expect(say({ status: "draining", drainDeadline: deadline, sessions: 0, drained: { moved: 2, hibernated: 0, stopped: 1 } })).toBe(
    "draining, no session left, 2 moved, 1 stopped",
  );
});

test("a time limit is told of once it is near", () => {
  const now = Date.parse("2030-04-01T12:00:00Z");
  const at = (seconds: number): string => new Date(now + seconds * 1000).toISOString();
  const limited = (changes: Partial<Session>): string | undefined => limitNotice(session("running", { onLimit: "stop", ...changes }), now);
  expect(limited({})).toBeUndefined();
  expect(limited({ maxDuration: "8h", expiresAt: at(600) })).toBeUndefined();
  expect(limited({ maxDuration: "8h", expiresAt: at(599) })).toBe("Stops in 10 min");
  expect(limited({ maxDuration: "8h", expiresAt: at(60), onLimit: "hibernate" })).toBe("Goes to sleep in 1 min");
  expect(limited({ maxDuration: "8h", expiresAt: at(-1) })).toBe("Stops now");
  expect(limited({ idleTimeout: "1h30m", idleAt: at(200), maxDuration: "8h", expiresAt: at(300) })).toBe("Stops in 4 min unless it is used");
  expect(limited({ idleTimeout: "30m", idleAt: at(300), maxDuration: "8h", expiresAt: at(200) })).toBe("Stops in 4 min");
  // Of a short limit there is no word while the session is in use.
  expect(limited({ idleTimeout: "1m30s", idleAt: at(45) })).toBeUndefined();
  expect(limited({ idleTimeout: "1m30s", idleAt: at(44) })).toBe("Stops in 1 min unless it is used");
  expect(limitNotice(session("pending", { maxDuration: "8h", expiresAt: at(1) }), now)).toBeUndefined();
});

test("a line of history says from where to where, and by whom", () => {
  expect(eventLine({ to: "pending", actor: "user:ann" })).toBe("Launched, by ann");
  expect(eventLine({ from: "pending", to: "running", actor: "agent:local" })).toBe("Starting → Running, by agent local");
  expect(eventLine({ from: "running", to: "pending", actor: "reconciler" })).toBe("Running → Starting, by reconciler");
  expect(eventLine({ from: "pending", to: "pending", actor: "system" })).toBe("Starting, by system");
});

test("an agent that is away is told of, with what that means", () => {
  const now = new Date(2030, 3, 1, 12, 5).getTime();
  const since = new Date(2030, 3, 1, 12, 3).toISOString();
  const say = (state: SessionState, unreachable: Session["unreachable"]): string | undefined =>
    awayNotice(session(state, { agentId: "laptop-2", ...(unreachable ? { unreachable } : {}) }), now);
  expect(say("running", undefined)).toBeUndefined();
  expect(say("running", { since, reason: "gone" })).toMatch(/^Agent laptop-2 has not been heard of since .*03.*; the session keeps running there\.$/);
  expect(say("running", { reason: "gone" })).toBe("Agent laptop-2 has not been heard of; the session keeps running there.");
  expect(say("pending", { reason: "gone" })).toContain("starts when it is back");
  expect(say("terminating", { reason: "gone" })).toContain("is stopped when it is back");
  const yesterday = new Date(2030, 2, 31, 12, 3);
  expect(say("running", { since: yesterday.toISOString(), reason: "gone" })).toContain(yesterday.toLocaleDateString());
});
