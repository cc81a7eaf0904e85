import { expect, test } from "vitest";
import { newSessionId } from "../launch/id";
import { parsePath } from "../router";
import { ago, count, stateLabel } from "../ui/format";
import { asProblem, parseProblem, Problem } from "./problem";

test("the API's problems keep their words and code", () => {
  const problem = parseProblem(409, JSON.stringify({ detail: "taken", code: "session_id_conflict", retryable: false }));
  expect([problem.detail, problem.code, problem.status, problem.retryable]).toEqual(["taken", "session_id_conflict", 409, false]);
});

test("whatever stands between is told from the API", () => {
  for (const body of ["<html>bad gateway</html>", "", "[]", "null", '"text"', '{"detail":7}']) {
    const problem = parseProblem(502, body);
    expect([problem.code, problem.retryable]).toEqual(["unexpected", true]);
    expect(problem.detail).toContain("502");
  }
  expect(parseProblem(401, "").code).toBe("unauthenticated");
});

test("whatever was thrown becomes a problem", () => {
  const problem = new Problem("x", "y", 400, false);
  expect(asProblem(problem)).toBe(problem);
  expect(asProblem(new Error("broken")).detail).toBe("broken");
  expect(asProblem("text").detail).toBe("text");
});

test("made-up session ids are what the API takes", () => {
  for (const template of ["desktop", "My Template!", "---", "ü", "x".repeat(200)]) {
    const id = newSessionId(template);
    expect(id).toMatch(/^[a-z0-9][a-z0-9-]{0,62}$/);
    expect(newSessionId(template)).not.toBe(id);
    expect(parsePath(`/sessions/${id}`)).toEqual({ page: "session", id });
  }
});

test("other addresses are the gallery", () => {
  for (const path of ["/", "/sessions/", "/sessions/-x", "/sessions/a/b", "/sessions/A"]) {
    expect(parsePath(path)).toEqual({ page: "home" });
  }
});

test("times and counts are words", () => {
  const now = Date.parse("2030-04-01T12:00:00Z");
  expect(ago("2030-04-01T12:00:10Z", now)).toBe("just now");
  expect(ago("2030-04-01T11:59:00Z", now)).toBe("1 min ago");
  expect(ago("2030-04-01T09:00:00Z", now)).toBe("3 h ago");
  expect(ago("2030-03-30T12:00:00Z", now)).toBe("2 days ago");
  expect(ago("nonsense", now)).toBe("");
  expect([count(1, "agent"), count(2, "agent")]).toEqual(["1 agent", "2 agents"]);
  expect(stateLabel({ state: "pending" })).toBe("Starting");
});
