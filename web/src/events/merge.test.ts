import { expect, test } from "vitest";
import type { Session } from "../api/types";
import { mergeSession, mergeSessions, removeSession, vanished, type Sessions } from "./merge";

const none: Sessions = new Map();

function session(id: string, changes: Partial<Session> = {}): Session {
  return { id, state: "running", generation: 1, updatedAt: "2030-04-01T12:00:00Z", ...changes } as Session;
}

test("later news replaces earlier news, in whatever order it comes", () => {
  const news = [
    session("s", { state: "pending" }),
    session("s", { updatedAt: "2030-04-01T12:00:01Z" }),
    session("s", { state: "terminating", generation: 2, updatedAt: "2030-04-01T12:00:00Z" }),
    session("s", { state: "terminated", generation: 2, updatedAt: "2030-04-01T11:00:00Z" }),
  ];
  const orders = permutations(news);
  expect(orders).toHaveLength(24);
  for (const order of orders) {
    expect(mergeSessions(none, order).get("s")).toEqual(news[3]);
  }
});

test("news that is older leaves everything as it is", () => {
  const known = mergeSession(none, session("s", { generation: 3 }));
  expect(mergeSession(known, session("s", { generation: 2, updatedAt: "2031-01-01T00:00:00Z" }))).toBe(known);
});

test("live sessions that a snapshot leaves out are asked for", () => {
  const known = mergeSessions(none, [session("here"), session("gone"), session("over", { state: "failed" })]);
  expect(vanished(known, [session("here")])).toEqual(["gone"]);
});

test("a removed session is forgotten and the others stay", () => {
  const known = mergeSessions(none, [session("a"), session("b")]);
  expect([...removeSession(known, "a").keys()]).toEqual(["b"]);
  expect(known.size).toBe(2);
});

function permutations<T>(items: T[]): T[][] {
  if (items.length < 2) return [items];
  return items.flatMap((item, at) => permutations(items.toSpliced(at, 1)).map((rest) => [item, ...rest]));
}
