/** The shapes of the HTTP API's JSON, as /openapi.json describes them. */

export type SessionState =
  | "pending"
  | "running"
  | "hibernating"
  | "hibernated"
  | "waking"
  | "terminating"
  | "terminated"
  | "failed";

export type Protocol = "vnc" | "terminal" | "http";

export interface Resources {
  cpu?: string;
  memory?: string;
}

export interface Session {
  id: string;
  name: string;
  user: string;
  template: string;
  protocol: Protocol;
  state: SessionState;
  desiredState: string;
  generation: number;
  reason?: string;
  reasonCode?: string;
  /** Whether launching the same again may succeed; it means something only in state failed. */
  retryable: boolean;
  agentId?: string;
  /** When a session that waits for an agent gives up. */
  waitUntil?: string;
  /** The place of such a session among all that wait; 1 is next. */
  queue?: { place: number; of: number };
  /** How far its start is, as its agent tells: what it is at, and how much of that is done. */
  progress?: { message: string; percent?: number };
  /** Set while its agent is away: why, and when that was last heard of. What runs there keeps running. */
  unreachable?: { since?: string; reason: string };
  platform?: string;
  region?: string;
  resources: Resources;
  createdAt: string;
  updatedAt: string;
  stateSince: string;
  /** How long it may go unused, and run at a stretch, such as "1h30m"; absent is for ever. */
  idleTimeout?: string;
  maxDuration?: string;
  /** What becomes of it at a limit. */
  onLimit?: "stop" | "hibernate";
  /** When a running session reaches maxDuration, and idleTimeout unless it is used before. */
  expiresAt?: string;
  idleAt?: string;
}

/** One line of a session's history. */
export interface SessionEvent {
  id: number;
  /** The states before and after; from is absent at the launch. */
  from?: SessionState;
  to: SessionState;
  /** Who caused it, e.g. user:ann, agent:local, reconciler. */
  actor: string;
  reason?: string;
  at: string;
}

export interface MissingNeed {
  command: string;
  install: string;
}

export interface Template {
  name: string;
  displayName: string;
  description?: string;
  icon?: string;
  protocol: Protocol;
  platforms?: string[];
  resources?: Resources;
  /** Whether its sessions' homes are kept, so that they can hibernate. */
  persistentHome?: boolean;
  available: boolean;
  reason?: string;
  missing?: MissingNeed[];
}

/** Whoever sets right what is stuck. */
export interface Reconciler {
  /** Why no agent is taken for gone for now; absent when nothing holds. */
  hold?: string;
}

export interface Agent {
  id: string;
  platform: string;
  region?: string;
  /** The storage that its persistent homes are on, which others may share. */
  homeStore?: string;
  status: string;
  /** Whether its newest connection lasts, to whichever replica. */
  connected: boolean;
  /** Whether it takes no new sessions until a person says otherwise. */
  cordoned: boolean;
  /** When what is left on a draining agent is stopped; never, if it is missing. */
  drainDeadline?: string;
  /** What a drain has done with sessions so far. */
  drained?: { moved: number; hibernated: number; stopped: number };
  sessions: number;
  capacity?: Record<string, unknown>;
}

export interface User {
  id: string;
  name: string;
  role: string;
}

export interface Ticket {
  ticket: string;
  expiresAt: string;
  /** Of a session that shows pages: where the ticket opens them. */
  url?: string;
}

export interface Page<Item> {
  items: Item[];
  nextCursor?: string;
}

export interface LaunchRequest {
  /** Chosen here, so that the same request may be sent again without launching twice. */
  id: string;
  template: string;
  name?: string;
}

/** Tells whether nothing can follow the state. */
export function isEnded(state: SessionState): boolean {
  return state === "terminated" || state === "failed";
}
