import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Api } from "../api/client";
import { Problem, unreachable } from "../api/problem";
import type { LaunchRequest, Session, SessionState, Template } from "../api/types";
import { Console, endedSessions, liveSessions } from "./console";

const template = { name: "desktop", displayName: "Desktop", available: true } as Template;

function session(id: string, changes: Partial<Session> = {}): Session {
  return { id, user: "ann", name: id, state: "running", generation: 1, createdAt: "2030-04-01T12:00:00Z", updatedAt: "2030-04-01T12:00:00Z", ...changes } as Session;
}

/** A server in this process, which answers what a test says. */
class FakeServer {
  sessions = new Map<string, Session>();
  /** What is held back. */
  hold: string | undefined;
  /** What the calls of that name are refused with. */
  refusals = new Map<keyof Api, Problem>();
  calls: string[] = [];
  launched: LaunchRequest[] = [];
  private events: ReadableStreamDefaultController<Uint8Array> | undefined;

  readonly api: Api = {
    me: () => this.answer("me", () => ({ id: "1", name: "ann", role: "admin" })),
    templates: () => this.answer("templates", () => [template]),
    sessions: () => this.answer("sessions", () => [...this.sessions.values()]),
    session: (id) => this.answer("session", () => this.find(id)),
    history: () => this.answer("history", () => []),
    launch: (request) =>
      this.answer("launch", () => {
        this.launched.push(request);
        return session(request.id, { state: "pending" });
      }),
    stop: (id) => this.answer("stop", () => session(id, { state: "terminating", generation: 2 })),
    hibernate: (id) => this.answer("hibernate", () => session(id, { state: "hibernating", generation: 2 })),
    wake: (id) => this.answer("wake", () => session(id, { state: "waking", generation: 3 })),
    ticket: () => this.answer("ticket", () => ({ ticket: "sst_x", expiresAt: "" })),
    reportActivity: () => this.answer("reportActivity", () => undefined),
    agents: () => this.answer("agents", () => []),
    removeAgent: () => this.answer("removeAgent", () => undefined),
    reconciler: () => this.answer("reconciler", () => (this.hold ? { hold: this.hold } : {})),
    events: (signal) =>
      this.answer("events", () => {
        const body = new ReadableStream<Uint8Array>({
          start: (controller) => {
            this.events = controller;
          },
        });
        signal.addEventListener("abort", () => this.events?.error(new DOMException("given up", "AbortError")), { once: true });
        return new Response(body);
      }),
  };

  tell(event: string, data: unknown): void {
    this.events?.enqueue(new TextEncoder().encode(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`));
  }

  count(call: keyof Api): number {
    return this.calls.filter((made) => made === call).length;
  }

  private find(id: string): Session {
    const found = this.sessions.get(id);
    if (!found) throw new Problem("there is no such session", "session_unknown", 404, false);
    return found;
  }

  private async answer<Result>(call: keyof Api, make: () => Result): Promise<Result> {
    this.calls.push(call);
    const refusal = this.refusals.get(call);
    if (refusal) throw refusal;
    return make();
  }
}

let server: FakeServer;
let model: Console;

beforeEach(() => {
  vi.useFakeTimers();
  server = new FakeServer();
  model = new Console(server.api);
});

afterEach(() => {
  model.pause();
  vi.useRealTimers();
});

const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);
const state = (id: string): SessionState | undefined => model.store.get().sessions.get(id)?.state;

test("it learns who is signed in and listens", async () => {
  await model.start();
  await settle();
  expect(model.store.get()).toMatchObject({ user: { name: "ann" }, stream: "live", signedOut: false });
  server.tell("snapshot", { sessions: [session("a")] });
  server.tell("session", session("b", { state: "pending" }));
  server.tell("of-the-future", {});
  await settle();
  expect([state("a"), state("b"), model.store.get().sessionsKnown]).toEqual(["running", "pending", true]);
});

test("a session that a snapshot leaves out is asked for", async () => {
  await model.start();
  await settle();
  server.tell("snapshot", { sessions: [session("ended"), session("removed")] });
  await settle();
  server.sessions.set("ended", session("ended", { state: "failed", reason: "no Xvnc" }));
  server.tell("snapshot", { sessions: null });
  await settle();
  expect(state("ended")).toBe("failed");
  expect(model.store.get().sessions.has("removed")).toBe(false);
});

test("an admin's console lists the admin's own sessions", async () => {
  server.sessions.set("own", session("own"));
  server.sessions.set("bobs", session("bobs", { user: "bob" }));
  await model.refreshSessions();
  expect([...model.store.get().sessions.keys()]).toEqual(["own"]);
});

test("what could not be read is read again with the catalogue, and asked once", async () => {
  server.refusals.set("me", unreachable()).set("sessions", unreachable()).set("templates", unreachable());
  server.sessions.set("own", session("own", { state: "terminated" }));
  await Promise.all([model.start(), model.refreshCatalog(), model.refreshSessions()]);
  expect(model.store.get()).toMatchObject({ problem: { code: "unreachable" }, user: undefined, templates: undefined });
  expect(server.count("me")).toBe(1);
  server.refusals.clear();
  await model.refreshCatalog();
  expect(model.store.get()).toMatchObject({ problem: undefined, user: { name: "ann" }, templates: [template] });
  expect(state("own")).toBe("terminated");
  await model.refreshCatalog();
  expect([server.count("me"), server.count("sessions")]).toEqual([2, 2]);
});

test("what is held back is told while it is", async () => {
  server.hold = "6 of 6 agents fell silent together";
  await model.refreshCatalog();
  expect(model.store.get().hold).toBe("6 of 6 agents fell silent together");
  server.hold = undefined;
  await model.refreshCatalog();
  expect(model.store.get().hold).toBeUndefined();
});

test("a problem that passed is shown no longer, though the stream never broke", async () => {
  await model.start();
  await settle();
  server.refusals.set("templates", new Problem("broken", "internal", 500, false));
  await model.refreshCatalog();
  expect(model.store.get().problem?.detail).toBe("broken");
  server.refusals.clear();
  await model.refreshCatalog();
  expect(model.store.get().problem).toBeUndefined();
});

test("a stream that was refused is a problem until it lives", async () => {
  server.refusals.set("events", new Problem("the database is away", "unavailable", 503, true));
  await model.start();
  await settle();
  expect(model.store.get()).toMatchObject({ problem: { code: "unavailable" }, stream: "reconnecting" });
  server.refusals.clear();
  await vi.advanceTimersByTimeAsync(500);
  expect(model.store.get()).toMatchObject({ problem: undefined, stream: "live" });
});

test("users who may not see agents see none, and no problem", async () => {
  server.refusals.set("agents", new Problem("no", "forbidden", 403, false));
  await model.refreshCatalog();
  expect(model.store.get()).toMatchObject({ agents: undefined, problem: undefined });
});

test("a sign-in that ended is told, whichever call finds out", async () => {
  const ended = new Problem("sign in", "unauthenticated", 401, false);
  const ways: [keyof Api, () => Promise<unknown>][] = [
    ["me", () => model.start()],
    ["events", () => model.start()],
    ["templates", () => model.refreshCatalog()],
    ["sessions", () => model.refreshSessions()],
    ["session", () => model.refreshSession("a").catch(() => undefined)],
    ["launch", () => model.launch({ id: "a", template: "desktop" })],
    ["stop", () => model.stop("a").catch(() => undefined)],
  ];
  for (const [call, make] of ways) {
    server = new FakeServer();
    model = new Console(server.api);
    server.refusals.set(call, ended);
    await make();
    await settle();
    expect(model.store.get().signedOut, call).toBe(true);
    model.resume();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(server.count("events"), call).toBeLessThan(2);
  }
});

test("a launch is sent until it is answered, always the same", async () => {
  const request = { id: "desktop-1", template: "desktop", name: "Desk" };
  for (const silence of [unreachable(), new Problem("bad gateway", "unexpected", 502, true), new Problem("stopping", "stopped", 503, true)]) {
    server.calls = [];
    server.launched = [];
    server.refusals.set("launch", silence);
    const launched = model.launch(request);
    await settle();
    expect(model.store.get().launches.get("desktop-1")).toEqual({ request });
    await vi.advanceTimersByTimeAsync(1_600); // two more attempts at least, by half of 500 and 1,000 ms
    server.refusals.clear();
    await vi.advanceTimersByTimeAsync(5_000);
    await launched;
    expect(server.count("launch")).toBeGreaterThan(2);
    expect(server.launched).toEqual([request]);
    expect([state("desktop-1"), model.store.get().launches.size]).toEqual(["pending", 0]);
  }
});

test("a launch that nobody answers is the user's to decide about", async () => {
  server.refusals.set("launch", unreachable());
  const launched = model.launch({ id: "a", template: "desktop" });
  await vi.advanceTimersByTimeAsync(60_000);
  await launched;
  expect(server.count("launch")).toBe(5);
  expect(model.store.get().launches.get("a")?.problem?.code).toBe("unreachable");
});

test("a refusal is shown at once and kept until it is forgotten", async () => {
  for (const [code, status] of [["no_suitable_agent", 503], ["needs_missing", 503], ["template_unknown", 404], ["internal", 500], ["session_id_conflict", 409]] as const) {
    server.calls = [];
    server.refusals.set("launch", new Problem("no", code, status, true));
    await model.launch({ id: "a", template: "desktop" });
    expect(server.count("launch"), code).toBe(1);
    expect(model.store.get().launches.get("a")?.problem?.code).toBe(code);
    model.forgetLaunch("a");
    expect(model.store.get().launches.size).toBe(0);
  }
});

test("stopping shows at once, and refusals are the caller's", async () => {
  await model.stop("a");
  expect(state("a")).toBe("terminating");
  server.refusals.set("stop", new Problem("no", "session_unknown", 404, false));
  await expect(model.stop("a")).rejects.toMatchObject({ code: "session_unknown" });
});

test("news of a session that was read late does not undo newer news", async () => {
  server.sessions.set("a", session("a", { state: "running" }));
  await model.stop("a");
  expect(await model.refreshSession("a")).toMatchObject({ state: "terminating" });
  expect(await model.refreshSession("nothing")).toBeUndefined();
  server.refusals.set("session", unreachable());
  await expect(model.refreshSession("a")).rejects.toMatchObject({ code: "unreachable" });
});

test("a page that nobody sees does not listen", async () => {
  await model.start();
  await settle();
  model.pause();
  expect(model.store.get().stream).toBe("paused");
  model.resume();
  await settle();
  expect([model.store.get().stream, server.count("events")]).toEqual(["live", 2]);
});

test("sessions are listed newest first, live and ended apart", () => {
  const all = new Map(
    [
      session("old", { createdAt: "2030-04-01T10:00:00Z" }),
      session("new", { createdAt: "2030-04-01T11:00:00Z", state: "hibernated" }),
      session("failed", { createdAt: "2030-04-01T09:00:00Z", state: "failed" }),
      session("ended", { createdAt: "2030-04-01T12:00:00Z", state: "terminated" }),
      session("twin-a", { createdAt: "2030-04-01T08:00:00Z", state: "terminated" }),
      session("twin-b", { createdAt: "2030-04-01T08:00:00Z", state: "terminated" }),
    ].map((one) => [one.id, one]),
  );
  expect(liveSessions(all).map((one) => one.id)).toEqual(["new", "old"]);
  expect(endedSessions(all, 3).map((one) => one.id)).toEqual(["ended", "failed", "twin-b"]);
});

test("a removed agent is gone at once", async () => {
  await model.refreshCatalog();
  const before = server.count("agents");
  await model.removeAgent("laptop");
  expect([server.count("removeAgent"), server.count("agents")]).toEqual([1, before + 1]);
  server.refusals.set("removeAgent", new Problem("it is connected", "agent_connected", 409, false));
  await expect(model.removeAgent("laptop")).rejects.toMatchObject({ code: "agent_connected" });
});
