import { expect, test } from "vitest";
import { Problem } from "../api/problem";
import type { Session, SessionState } from "../api/types";
import { judgePhase, type PhaseInputs } from "./phase";

const nothing: PhaseInputs = { session: undefined, launch: undefined, missing: false, problem: undefined, link: undefined };

function session(state: SessionState, changes: Partial<Session> = {}): Session {
  return { id: "s", state, generation: 1, agentId: "local", ...changes } as Session;
}

test("each state has a phase of its own", () => {
  const kinds: [Partial<PhaseInputs>, string, boolean][] = [
    [{}, "loading", true],
    [{ missing: true }, "missing", false],
    [{ problem: new Problem("no network", "unreachable", 0, true) }, "trouble", true],
    [{ session: session("pending") }, "waiting", true],
    [{ session: session("hibernated") }, "asleep", false],
    [{ session: session("waking") }, "waiting", true],
    [{ session: session("running") }, "connecting", true],
    [{ session: session("running"), link: { kind: "live" } }, "live", false],
    [{ session: session("running"), link: { kind: "waiting", attempts: 1 } }, "reconnecting", true],
    [{ session: session("running"), link: { kind: "waiting", attempts: 1, problem: new Problem("ann's", "forbidden", 403, false) } }, "forbidden", false],
    [{ session: session("terminating"), link: { kind: "live" } }, "stopping", true],
    [{ session: session("terminated") }, "ended", false],
    [{ session: session("failed", { reason: "no Xvnc", reasonCode: "needs_missing" }) }, "failed", false],
  ];
  for (const [inputs, kind, busy] of kinds) {
    const phase = judgePhase({ ...nothing, ...inputs });
    expect([phase.kind, phase.busy], JSON.stringify(inputs)).toEqual([kind, busy]);
  }
});

test("an agent that is away is the reason for everything but a live picture", () => {
  const away = "Agent local has not been heard of; the session keeps running there.";
  for (const state of ["pending", "waking", "terminating", "running"] as const) {
    expect(judgePhase({ ...nothing, session: session(state), away }).detail, state).toBe(away);
  }
  expect(judgePhase({ ...nothing, session: session("running"), link: { kind: "live" }, away }).kind).toBe("live");
});

test("whatever waits or fails says why", () => {
  expect(judgePhase({ ...nothing, session: session("pending") }).detail).toContain("agent local");
  const failed = judgePhase({ ...nothing, session: session("failed", { reason: "no Xvnc", reasonCode: "needs_missing" }) });
  expect([failed.detail, failed.code]).toEqual(["no Xvnc", "needs_missing"]);
  const full = new Problem("the agent is full", "no_suitable_agent", 503, true);
  const unwoken = judgePhase({ ...nothing, session: session("hibernated"), unwoken: full });
  expect([unwoken.detail, unwoken.code]).toEqual(["the agent is full", "no_suitable_agent"]);
  const lost = judgePhase({ ...nothing, session: session("running"), link: { kind: "waiting", attempts: 2, problem: new Problem("away", "agent_unavailable", 503, true) } });
  expect([lost.detail, lost.code]).toEqual(["away", "agent_unavailable"]);
});
