import { Backoff } from "../backoff";
import { asProblem, type Problem } from "../api/problem";
import { EventParser, type ServerEvent } from "./sse";

export type StreamState = "connecting" | "live" | "reconnecting" | "paused";

export interface EventStreamOptions {
  /** Opens the stream; it rejects with a Problem. */
  open(signal: AbortSignal): Promise<Response>;
  onEvent(event: ServerEvent): void;
  onState(state: StreamState): void;
  /** Hears each refusal and each missing answer; the stream tries again by itself. */
  onProblem(problem: Problem): void;
  backoff?: Backoff;
}

/** The server sends a comment every 15 s; a stream that is silent for longer than this is dead. */
const silenceMs = 45_000;
/** Only a stream that lived this long starts the backoff anew. */
const healthyMs = 10_000;

/**
 * Follows the server's event stream and opens it again, with backoff, whenever it
 * ends. EventSource would hide the status of a refused stream and the comments
 * that show a quiet one to be alive.
 */
export class EventStream {
  private readonly backoff: Backoff;
  private controller: AbortController | undefined;
  private wake: (() => void) | undefined;

  constructor(private readonly options: EventStreamOptions) {
    this.backoff = options.backoff ?? new Backoff({ base: 500, cap: 15_000 });
  }

  /** Starts following; it does nothing while already following. */
  start(): void {
    if (this.controller) return;
    const controller = new AbortController();
    this.controller = controller;
    void this.follow(controller.signal);
  }

  /** Stops following until the next start. */
  pause(): void {
    if (!this.controller) return;
    this.controller.abort();
    this.controller = undefined;
    this.options.onState("paused");
  }

  /** Ends a wait between two attempts. */
  retryNow(): void {
    this.wake?.();
  }

  private async follow(stopped: AbortSignal): Promise<void> {
    this.options.onState("connecting");
    while (!stopped.aborted) {
      const since = Date.now();
      try {
        await this.read(stopped);
      } catch (thrown) {
        if (!stopped.aborted) this.options.onProblem(asProblem(thrown));
      }
      if (stopped.aborted) return;
      this.options.onState("reconnecting");
      if (Date.now() - since >= healthyMs) this.backoff.reset();
      await this.sleep(this.backoff.next(), stopped);
    }
  }

  private async read(stopped: AbortSignal): Promise<void> {
    const attempt = new AbortController();
    const abort = (): void => attempt.abort();
    stopped.addEventListener("abort", abort);
    let watchdog = setTimeout(abort, silenceMs);
    try {
      const response = await this.options.open(attempt.signal);
      if (!response.body) return;
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      const parser = new EventParser();
      this.options.onState("live");
      for (;;) {
        const { done, value } = await reader.read();
        if (done || stopped.aborted) return;
        clearTimeout(watchdog);
        watchdog = setTimeout(abort, silenceMs);
        for (const event of parser.push(decoder.decode(value, { stream: true }))) {
          this.options.onEvent(event);
        }
      }
    } catch (thrown) {
      // A connection that breaks or falls silent is no problem to report: the next attempt tells.
      if (thrown instanceof DOMException || thrown instanceof TypeError) return;
      throw thrown;
    } finally {
      clearTimeout(watchdog);
      stopped.removeEventListener("abort", abort);
      attempt.abort();
    }
  }

  private sleep(ms: number, stopped: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        stopped.removeEventListener("abort", finish);
        this.wake = undefined;
        resolve();
      };
      const timer = setTimeout(finish, ms);
      stopped.addEventListener("abort", finish);
      this.wake = finish;
    });
  }
}
