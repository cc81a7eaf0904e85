import { parseProblem, unreachable } from "./problem";
import type { Agent, LaunchRequest, Page, Reconciler, Session, SessionEvent, Template, Ticket, User } from "./types";

const base = "/api/v1";
const timeoutMs = 20_000;

/** The calls of the HTTP API that the console makes. Each rejects with a Problem. */
export interface Api {
  me(): Promise<User>;
  templates(): Promise<Template[]>;
  /** The newest sessions, ended ones included. */
  sessions(): Promise<Session[]>;
  session(id: string): Promise<Session>;
  /** What has happened to a session, oldest first. */
  history(id: string): Promise<SessionEvent[]>;
  launch(request: LaunchRequest): Promise<Session>;
  stop(id: string): Promise<Session>;
  hibernate(id: string): Promise<Session>;
  wake(id: string): Promise<Session>;
  /** Makes a ticket for a viewer that calls reportActivity when it is used. */
  ticket(id: string): Promise<Ticket>;
  /** Says that somebody uses a session now. */
  reportActivity(id: string): Promise<void>;
  agents(): Promise<Agent[]>;
  /** Says that an agent is gone for good, whatever is on it. For admins. */
  removeAgent(id: string): Promise<void>;
  reconciler(): Promise<Reconciler>;
  /** Opens the event stream; the answer's body is text/event-stream. */
  events(signal: AbortSignal): Promise<Response>;
}

/** Makes the client of the API on this page's own origin. */
export function createApi(fetcher: typeof fetch = (input, init) => fetch(input, init)): Api {
  async function send(path: string, init: RequestInit): Promise<Response> {
    let response: Response;
    try {
      response = await fetcher(base + path, { ...init, cache: "no-store" });
    } catch (thrown) {
      if (init.signal?.aborted && init.signal.reason instanceof DOMException && init.signal.reason.name === "AbortError") {
        throw thrown;
      }
      throw unreachable();
    }
    if (!response.ok) {
      throw parseProblem(response.status, await response.text().catch(() => ""));
    }
    return response;
  }

  async function call<Result>(method: string, path: string, body?: unknown): Promise<Result> {
    const init: RequestInit = {
      method,
      headers: { Accept: "application/json" },
      signal: AbortSignal.timeout(timeoutMs),
    };
    if (body !== undefined) {
      init.headers = { Accept: "application/json", "Content-Type": "application/json" };
      init.body = JSON.stringify(body);
    }
    const response = await send(path, init);
    try {
      return (await response.json()) as Result;
    } catch {
      throw unreachable();
    }
  }

  async function list<Item>(path: string): Promise<Item[]> {
    const page = await call<Page<Item>>("GET", path);
    return page.items ?? [];
  }

  const sessionPath = (id: string): string => `/sessions/${encodeURIComponent(id)}`;

  return {
    me: () => call("GET", "/me"),
    templates: () => list("/templates?limit=500"),
    sessions: () => list("/sessions?limit=100"),
    session: (id) => call("GET", sessionPath(id)),
    history: (id) => list(`${sessionPath(id)}/events?limit=500`),
    launch: (request) => call("POST", "/sessions", request),
    stop: (id) => call("DELETE", sessionPath(id)),
    hibernate: (id) => call("POST", `${sessionPath(id)}/hibernate`),
    wake: (id) => call("POST", `${sessionPath(id)}/wake`),
    ticket: (id) => call("POST", `${sessionPath(id)}/tickets`, { reportsInput: true }),
    reportActivity: async (id) => {
      await send(`${sessionPath(id)}/activity`, { method: "POST", signal: AbortSignal.timeout(timeoutMs) });
    },
    agents: () => list("/agents?limit=500"),
    removeAgent: async (id) => {
      await call("DELETE", `/agents/${encodeURIComponent(id)}?force=true`);
    },
    reconciler: () => call("GET", "/reconciler"),
    events: (signal) => send("/events", { headers: { Accept: "text/event-stream" }, signal }),
  };
}

/** The address of a session's stream, the ticket being its only credential. */
export function streamUrl(location: Pick<Location, "protocol" | "host">, id: string, ticket: string): string {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return `${scheme}//${location.host}${base}/sessions/${encodeURIComponent(id)}/stream?ticket=${encodeURIComponent(ticket)}`;
}
