import type { Api } from "../api/client";
import { asProblem, type Problem } from "../api/problem";
import { isEnded, type Agent, type LaunchRequest, type Session, type SessionEvent, type Template, type User } from "../api/types";
import { Backoff } from "../backoff";
import { mergeSessions, removeSession, vanished, type Sessions } from "../events/merge";
import { EventStream, type StreamState } from "../events/stream";
import type { ServerEvent } from "../events/sse";
import { createStore, type Store } from "./store";

/** A launch that the server has not answered yet, or has refused. */
export interface Launch {
  request: LaunchRequest;
  problem?: Problem;
}

export interface ConsoleState {
  user: User | undefined;
  signedOut: boolean;
  sessions: Sessions;
  /** Whether the list of sessions has been heard at least once. */
  sessionsKnown: boolean;
  templates: Template[] | undefined;
  /** Undefined while unknown, and for users who may not see agents. */
  agents: Agent[] | undefined;
  /** Why sessions of agents that are away are not given up for now. */
  hold: string | undefined;
  launches: ReadonlyMap<string, Launch>;
  stream: StreamState;
  /** What keeps the console from hearing from the server at this moment. */
  problem: Problem | undefined;
}

const initial: ConsoleState = {
  user: undefined,
  signedOut: false,
  sessions: new Map(),
  sessionsKnown: false,
  templates: undefined,
  agents: undefined,
  hold: undefined,
  launches: new Map(),
  stream: "connecting",
  problem: undefined,
};

/** How often a launch that got no answer is sent again before the user is asked. */
const launchAttempts = 5;

/** The codes of refusals that pass by themselves within seconds; "unexpected" is a proxy's. */
const passing: readonly string[] = ["unexpected", "unavailable", "stopped", "queue_full"];

/**
 * Holds what the console knows of the server, and changes it. Every view reads
 * its store; nothing else talks to the API but the viewer, for its tickets.
 */
export class Console {
  readonly store: Store<ConsoleState> = createStore(initial);
  private readonly stream: EventStream;
  private identity: Promise<User | undefined> | undefined;
  /** Whether the session list was read once. */
  private listed = false;

  constructor(private readonly api: Api) {
    this.stream = new EventStream({
      open: (signal) => api.events(signal),
      onEvent: (event) => this.onEvent(event),
      onState: (stream) => this.set(stream === "live" ? { stream, problem: undefined } : { stream }),
      onProblem: (problem) => this.noteProblem(problem),
    });
  }

  /** Finds out who is signed in and starts listening. */
  async start(): Promise<void> {
    this.stream.start();
    await this.whoAmI();
  }

  /** Stops listening, for a page that nobody sees; browsers allow few connections to one server. */
  pause(): void {
    this.stream.pause();
  }

  resume(): void {
    if (!this.store.get().signedOut) this.stream.start();
  }

  /** Tries what failed again now, since something suggests that it may work. */
  retry(): void {
    this.stream.retryNow();
    void this.refreshCatalog();
  }

  /** Reads templates, agents and what is held back again, which change without events, and what could not be read before. */
  async refreshCatalog(): Promise<void> {
    const [templates, agents, hold] = await Promise.all([
      this.attempt(() => this.api.templates()),
      this.api.agents().catch(() => undefined),
      this.api.reconciler().then(
        (reconciler) => reconciler.hold,
        () => undefined,
      ),
    ]);
    this.set(templates ? { templates, agents, hold } : { agents, hold });
    if (templates && !this.listed) await this.refreshSessions();
  }

  /** Removes an agent that is gone for good; it rejects with a Problem. */
  async removeAgent(id: string): Promise<void> {
    await this.api.removeAgent(id);
    await this.refreshCatalog();
  }

  /**
   * Reads the user's session list, ended sessions included; the event stream knows
   * only live ones. An admin's list has everybody's, and nothing tells of changes
   * to those.
   */
  async refreshSessions(): Promise<void> {
    const [user, sessions] = await Promise.all([this.whoAmI(), this.attempt(() => this.api.sessions())]);
    if (!user || !sessions) return;
    this.listed = true;
    this.merge(sessions.filter((session) => session.user === user.name));
  }

  /** Reads one session; undefined when there is no such session. It rejects with a Problem. */
  async refreshSession(id: string): Promise<Session | undefined> {
    try {
      const session = await this.api.session(id);
      this.merge([session]);
      return this.store.get().sessions.get(id);
    } catch (thrown) {
      const problem = asProblem(thrown);
      if (problem.status === 404) {
        this.store.update((state) => ({ ...state, sessions: removeSession(state.sessions, id) }));
        return undefined;
      }
      if (problem.status === 401) this.noteProblem(problem);
      throw problem;
    }
  }

  /**
   * Asks for a session, again and again while there is no answer: the id in the
   * request makes that safe. A refusal stays in the store's launches until it is
   * launched again or forgotten.
   */
  async launch(request: LaunchRequest): Promise<void> {
    this.setLaunch(request.id, { request });
    const backoff = new Backoff({ base: 500, cap: 5_000 });
    for (;;) {
      try {
        const session = await this.api.launch(request);
        this.merge([session]);
        this.setLaunch(request.id, undefined);
        return;
      } catch (thrown) {
        const problem = asProblem(thrown);
        if (problem.status === 401) this.noteProblem(problem);
        const unanswered = problem.status === 0 || (problem.status >= 502 && passing.includes(problem.code));
        if (!unanswered || backoff.attempts >= launchAttempts - 1) {
          this.setLaunch(request.id, { request, problem });
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, backoff.next()));
      }
    }
  }

  /** Forgets a refused launch. */
  forgetLaunch(id: string): void {
    this.setLaunch(id, undefined);
  }

  /** Gives what has happened to a session, oldest first. It rejects with a Problem. */
  history(id: string): Promise<SessionEvent[]> {
    return this.api.history(id);
  }

  /** Asks for a session's end. It rejects with a Problem. */
  stop(id: string): Promise<void> {
    return this.change(() => this.api.stop(id));
  }

  /** Has a session's programs ended and its home kept. It rejects with a Problem. */
  hibernate(id: string): Promise<void> {
    return this.change(() => this.api.hibernate(id));
  }

  /** Has a hibernated session run again. It rejects with a Problem. */
  wake(id: string): Promise<void> {
    return this.change(() => this.api.wake(id));
  }

  private async change(call: () => Promise<Session>): Promise<void> {
    try {
      this.merge([await call()]);
    } catch (thrown) {
      const problem = asProblem(thrown);
      if (problem.status === 401) this.noteProblem(problem);
      throw problem;
    }
  }

  /** Who is signed in; asked until it is known. */
  private whoAmI(): Promise<User | undefined> {
    this.identity ??= this.attempt(() => this.api.me()).then((user) => {
      if (user) this.set({ user });
      else this.identity = undefined;
      return user;
    });
    return this.identity;
  }

  private onEvent(event: ServerEvent): void {
    if (event.event === "snapshot") {
      const { sessions } = JSON.parse(event.data) as { sessions: Session[] | null };
      const live = sessions ?? [];
      const gone = vanished(this.store.get().sessions, live);
      this.merge(live);
      for (const id of gone) void this.refreshSession(id).catch(() => undefined);
    }
    if (event.event === "session") {
      this.merge([JSON.parse(event.data) as Session]);
    }
  }

  private merge(heard: Session[]): void {
    this.store.update((state) => ({ ...state, sessions: mergeSessions(state.sessions, heard), sessionsKnown: true }));
  }

  private async attempt<Result>(call: () => Promise<Result>): Promise<Result | undefined> {
    try {
      const result = await call();
      this.set({ problem: undefined });
      return result;
    } catch (thrown) {
      this.noteProblem(asProblem(thrown));
      return undefined;
    }
  }

  private noteProblem(problem: Problem): void {
    if (problem.status === 401) {
      this.stream.pause();
      this.set({ signedOut: true });
      return;
    }
    this.set({ problem });
  }

  private setLaunch(id: string, launch: Launch | undefined): void {
    this.store.update((state) => {
      const launches = new Map(state.launches);
      if (launch) launches.set(id, launch);
      else launches.delete(id);
      return { ...state, launches };
    });
  }

  private set(part: Partial<ConsoleState>): void {
    this.store.update((state) => ({ ...state, ...part }));
  }
}

/** The sessions that have not ended, newest first. */
export function liveSessions(sessions: Sessions): Session[] {
  return newestFirst([...sessions.values()].filter((session) => !isEnded(session.state)));
}

/** The newest of the sessions that ended, at most limit. */
export function endedSessions(sessions: Sessions, limit: number): Session[] {
  return newestFirst([...sessions.values()].filter((session) => isEnded(session.state))).slice(0, limit);
}

function newestFirst(sessions: Session[]): Session[] {
  return sessions.sort((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt) || (a.id < b.id ? 1 : -1));
}
