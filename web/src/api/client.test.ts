import { expect, test } from "vitest";
import { createApi, streamUrl, type Api } from "./client";
import { Problem } from "./problem";

interface Call {
  url: string;
  init: RequestInit;
}

function answering(answer: () => Response | Promise<Response>): { api: Api; calls: Call[] } {
  const calls: Call[] = [];
  const api = createApi((url, init) => {
    calls.push({ url: String(url), init: init ?? {} });
    return Promise.resolve().then(answer);
  });
  return { api, calls };
}

const ok = (): Response => Response.json({ id: "s", items: [{ id: "a" }] });

test("each call makes its request", async () => {
  const { api, calls } = answering(ok);
  await api.me();
  await api.templates();
  await api.sessions();
  await api.session("a/b");
  await api.history("a/b");
  await api.launch({ id: "s", template: "desktop", name: "ü" });
  await api.stop("s");
  await api.hibernate("s");
  await api.wake("s");
  await api.ticket("s");
  await api.reportActivity("s");
  await api.agents();
  expect(calls.map(({ url, init }) => `${init.method} ${url} ${init.body ?? ""}`.trim())).toEqual([
    "GET /api/v1/me",
    "GET /api/v1/templates?limit=500",
    "GET /api/v1/sessions?limit=100",
    "GET /api/v1/sessions/a%2Fb",
    "GET /api/v1/sessions/a%2Fb/events?limit=500",
    'POST /api/v1/sessions {"id":"s","template":"desktop","name":"ü"}',
    "DELETE /api/v1/sessions/s",
    "POST /api/v1/sessions/s/hibernate",
    "POST /api/v1/sessions/s/wake",
    'POST /api/v1/sessions/s/tickets {"reportsInput":true}',
    "POST /api/v1/sessions/s/activity",
    "GET /api/v1/agents?limit=500",
  ]);
  for (const { init } of calls) {
    expect(init.cache).toBe("no-store");
    expect(init.signal).toBeInstanceOf(AbortSignal);
    expect(new Headers(init.headers).get("Content-Type")).toBe(init.body === undefined ? null : "application/json");
  }
});

test("lists are their items, also when there are none", async () => {
  expect(await answering(ok).api.agents()).toEqual([{ id: "a" }]);
  expect(await answering(() => Response.json({ items: null })).api.agents()).toEqual([]);
});

test("refusals are problems with the API's words", async () => {
  const { api } = answering(() => Response.json({ detail: "taken", code: "session_id_conflict", retryable: false }, { status: 409 }));
  await expect(api.launch({ id: "s", template: "t" })).rejects.toMatchObject({ detail: "taken", code: "session_id_conflict", status: 409 });
});

test("no answer and half an answer are one problem", async () => {
  const broken = [
    (): Response => {
      throw new TypeError("Failed to fetch");
    },
    (): Response => new Response("<html>", { status: 200 }),
    (): Response => {
      throw new DOMException("late", "TimeoutError");
    },
  ];
  for (const answer of broken) {
    const thrown: unknown = await answering(answer).api.me().catch((problem: unknown) => problem);
    expect(thrown).toBeInstanceOf(Problem);
    expect(thrown).toMatchObject({ code: "unreachable", status: 0, retryable: true });
  }
});

test("an event stream that was given up is no problem", async () => {
  const given = new AbortController();
  const { api, calls } = answering(() => {
    given.abort();
    throw given.signal.reason;
  });
  await expect(api.events(given.signal)).rejects.toMatchObject({ name: "AbortError" });
  expect(calls[0]?.init.signal).toBe(given.signal);
});

test("a stream's address has the page's host and security", () => {
  expect(streamUrl({ protocol: "http:", host: "127.0.0.1:8080" }, "desk-1", "sst_a+b")).toBe("ws://127.0.0.1:8080/api/v1/sessions/desk-1/stream?ticket=sst_a%2Bb");
  expect(streamUrl({ protocol: "https:", host: "x.example" }, "a", "t")).toBe("wss://x.example/api/v1/sessions/a/stream?ticket=t");
});
