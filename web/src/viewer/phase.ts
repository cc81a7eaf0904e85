import type { Problem } from "../api/problem";
import { isEnded, type Session } from "../api/types";
import type { Launch } from "../store/console";
import { explain, stateLabel } from "../ui/format";
import type { LinkStatus } from "./link";

/** What the viewer is doing, as its overlay and its status line say it. */
export interface Phase {
  kind: "loading" | "launching" | "refused" | "missing" | "waiting" | "asleep" | "connecting" | "live" | "reconnecting" | "forbidden" | "stopping" | "ended" | "failed" | "trouble";
  title: string;
  detail?: string;
  code?: string;
  /** Whether something is under way that may end by itself. */
  busy: boolean;
}

export interface PhaseInputs {
  session: Session | undefined;
  launch: Launch | undefined;
  /** Whether the server said that there is no such session. */
  missing: boolean;
  /** Why the session could not be read. */
  problem: Problem | undefined;
  link: LinkStatus | undefined;
  /** Why the session could not be woken. */
  unwoken?: Problem | undefined;
  /** What it means that the session's agent is away, if it is. */
  away?: string | undefined;
}

/** Judges the viewer's phase from everything it knows. */
export function judgePhase({ session, launch, missing, problem, link, unwoken, away }: PhaseInputs): Phase {
  if (launch?.problem) {
    return { kind: "refused", title: "The session could not be launched", ...told(launch.problem), busy: false };
  }
  if (!session) {
    if (launch) return { kind: "launching", title: "Launching…", detail: "Asking for a session.", busy: true };
    if (missing) {
      return {
        kind: "missing",
        title: "There is no such session",
        detail: "It may have been removed, or it belongs to somebody else.",
        busy: false,
      };
    }
    if (problem) return { kind: "trouble", title: "The session cannot be reached", ...told(problem), busy: true };
    return { kind: "loading", title: "Loading…", busy: true };
  }
  if (isEnded(session.state)) {
    const failed = session.state === "failed";
    return {
      kind: failed ? "failed" : "ended",
      title: failed ? "The session failed" : "The session has ended",
      ...optional(explain(session), session.reasonCode),
      busy: false,
    };
  }
  if (session.state === "terminating") {
    return { kind: "stopping", title: "Stopping…", ...optional(away ?? explain(session), session.reasonCode), busy: true };
  }
  if (session.state === "hibernated") {
    const why = unwoken ? told(unwoken) : { detail: session.reason ?? "Its programs have ended and its home is kept." };
    return { kind: "asleep", title: "The session is asleep", ...why, busy: false };
  }
  if (session.state !== "running") {
    return { kind: "waiting", title: `${stateLabel(session)}…`, ...optional(away ?? explain(session), session.reasonCode), busy: true };
  }
  if (link?.kind === "live") return { kind: "live", title: "Connected", busy: false };
  if (link?.kind === "waiting" && link.problem?.status === 403) {
    return { kind: "forbidden", title: "You may not look into this session", ...told(link.problem), busy: false };
  }
  if (away) return { kind: "reconnecting", title: "The session cannot be reached", detail: away, busy: true };
  if (link?.kind === "waiting") {
    const why = link.problem ? told(link.problem) : { detail: link.message ?? "The connection was lost. The session keeps running." };
    return { kind: "reconnecting", title: "Reconnecting…", ...why, busy: true };
  }
  return { kind: "connecting", title: "Connecting…", detail: "The session runs; its picture is on the way.", busy: true };
}

function told(problem: Problem): { detail: string; code: string } {
  return { detail: problem.detail, code: problem.code };
}

function optional(detail: string | undefined, code: string | undefined): { detail?: string; code?: string } {
  return { ...(detail ? { detail } : {}), ...(code ? { code } : {}) };
}
