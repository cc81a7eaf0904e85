export interface BackoffOptions {
  /** The ceiling of the first delay, in milliseconds. */
  base: number;
  /** No delay is longer, in milliseconds. */
  cap: number;
  random?: () => number;
}

/**
 * Delays between attempts: the ceiling doubles each time up to the cap, and each
 * delay is a random point in its ceiling's upper half, so that many consoles do
 * not come back at the same moment and none comes back at once.
 */
export class Backoff {
  private failures = 0;
  private readonly random: () => number;

  constructor(private readonly options: BackoffOptions) {
    this.random = options.random ?? Math.random;
  }

  /** How many delays were handed out since the last reset. */
  get attempts(): number {
    return this.failures;
  }

  next(): number {
    const ceiling = Math.min(this.options.cap, this.options.base * 2 ** Math.min(this.failures, 30));
    this.failures++;
    return Math.round(ceiling * (0.5 + 0.5 * this.random()));
  }

  reset(): void {
    this.failures = 0;
  }
}
