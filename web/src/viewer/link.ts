import { asProblem, type Problem } from "../api/problem";
import { Backoff } from "../backoff";

/** How an open stream ended. */
export interface ScreenEnd {
  /** What the screen itself had against the stream, in words for people. */
  message?: string;
}

/** A session's stream, shown on the page. */
export interface Screen {
  /** Resolves, and never rejects, when the stream is over. */
  readonly closed: Promise<ScreenEnd>;
  /** Ends the stream; what was shown last may stay on the page. */
  close(): void;
}

export type LinkStatus =
  | { kind: "connecting" }
  | { kind: "live" }
  | { kind: "waiting"; attempts: number; problem?: Problem; message?: string };

export interface LinkOptions {
  /** Gets the address of a new stream, with a fresh ticket in it. It rejects with a Problem. */
  address(): Promise<string>;
  /** Opens the stream and calls onLive once there is something to see. */
  open(address: string, onLive: () => void): Promise<Screen>;
  onStatus(status: LinkStatus): void;
  /** Hears that the stream ended or could not be opened, before the wait for the next attempt. */
  onLost(): void;
  backoff?: Backoff;
}

/** A stream that takes longer to show something is given up. */
const openTimeoutMs = 20_000;
/** Only a stream that lived this long starts the backoff anew. */
const healthyMs = 5_000;

/**
 * Keeps a session's stream open: each attempt uses a fresh ticket, and attempts
 * back off. It runs until stopped; whether the session still runs is for its
 * owner to judge.
 */
export class Link {
  private readonly backoff: Backoff;
  private stopped = false;
  private screen: Screen | undefined;
  private wake: (() => void) | undefined;

  constructor(private readonly options: LinkOptions) {
    this.backoff = options.backoff ?? new Backoff({ base: 400, cap: 15_000 });
    void this.run();
  }

  /** Closes the stream and ends the attempts. */
  stop(): void {
    this.stopped = true;
    this.screen?.close();
    this.wake?.();
  }

  /** Ends a wait between two attempts. */
  retryNow(): void {
    this.wake?.();
  }

  private async run(): Promise<void> {
    while (!this.stopped) {
      this.options.onStatus({ kind: "connecting" });
      const lost = await this.attempt();
      if (this.stopped) return;
      this.options.onLost();
      const delay = this.backoff.next();
      this.options.onStatus({ kind: "waiting", attempts: this.backoff.attempts, ...lost });
      await this.sleep(delay);
    }
  }

  private async attempt(): Promise<{ problem?: Problem; message?: string }> {
    let liveSince: number | undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      const address = await this.options.address();
      if (this.stopped) return {};
      const screen = await this.options.open(address, () => {
        if (this.stopped) return;
        liveSince = Date.now();
        clearTimeout(timer);
        this.options.onStatus({ kind: "live" });
      });
      this.screen = screen;
      if (this.stopped) screen.close();
      let late = false;
      if (liveSince === undefined) {
        timer = setTimeout(() => {
          late = true;
          screen.close();
        }, openTimeoutMs);
      }
      const end = await screen.closed;
      if (late) return { message: "The session did not answer in time." };
      return end.message === undefined ? {} : { message: end.message };
    } catch (thrown) {
      return { problem: asProblem(thrown) };
    } finally {
      clearTimeout(timer);
      this.screen = undefined;
      if (liveSince !== undefined && Date.now() - liveSince >= healthyMs) this.backoff.reset();
    }
  }

  private sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.wake = undefined;
        resolve();
      };
      const timer = setTimeout(finish, ms);
      this.wake = finish;
    });
  }
}
