import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Problem } from "../api/problem";
import { Backoff } from "../backoff";
import { Link, type LinkStatus, type Screen, type ScreenEnd } from "./link";

/** A stream that a test ends. */
class FakeScreen implements Screen {
  end!: (how: ScreenEnd) => void;
  readonly closed = new Promise<ScreenEnd>((resolve) => {
    this.end = resolve;
  });
  close(): void {
    this.end({});
  }
}

let screens: FakeScreen[] = [];
let addresses = 0;
let statuses: LinkStatus[] = [];
let lost = 0;

beforeEach(() => {
  vi.useFakeTimers();
  screens = [];
  addresses = 0;
  statuses = [];
  lost = 0;
});

afterEach(() => {
  vi.useRealTimers();
});

function open(options: { live?: boolean; refuse?: () => Problem | undefined } = {}): Link {
  return new Link({
    address: () => {
      addresses++;
      const problem = options.refuse?.();
      return problem ? Promise.reject(problem) : Promise.resolve(`ticket ${addresses}`);
    },
    open: (_address, onLive) => {
      const screen = new FakeScreen();
      screens.push(screen);
      if (options.live !== false) onLive();
      return Promise.resolve(screen);
    },
    onStatus: (status) => statuses.push(status),
    onLost: () => lost++,
    backoff: new Backoff({ base: 400, cap: 15_000, random: () => 1 }),
  });
}

const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);

test("a lost stream is opened again with a ticket of its own, later each time", async () => {
  const link = open();
  await settle();
  for (const [attempt, delay] of [400, 800, 1600].entries()) {
    expect(statuses.at(-1)).toEqual({ kind: "live" });
    screens.at(-1)?.end({ message: "the screen is gone" });
    await settle();
    expect(statuses.at(-1)).toEqual({ kind: "waiting", attempts: attempt + 1, message: "the screen is gone" });
    await vi.advanceTimersByTimeAsync(delay - 1);
    expect(addresses).toBe(attempt + 1);
    await vi.advanceTimersByTimeAsync(1);
    expect(addresses).toBe(attempt + 2);
  }
  expect(lost).toBe(3);
  link.stop();
});

test("a stream that lived begins the waits anew", async () => {
  const link = open();
  await settle();
  screens[0]?.end({});
  await vi.advanceTimersByTimeAsync(400);
  await vi.advanceTimersByTimeAsync(6_000);
  screens[1]?.end({});
  await vi.advanceTimersByTimeAsync(400);
  expect(addresses).toBe(3);
  link.stop();
});

test("a stream that shows nothing is given up", async () => {
  const link = open({ live: false });
  await vi.advanceTimersByTimeAsync(20_000);
  expect(statuses.at(-1)).toMatchObject({ kind: "waiting", message: "The session did not answer in time." });
  link.stop();
});

test("a refusal is told, and trying again need not wait", async () => {
  const problem = new Problem("not running", "session_not_running", 409, true);
  let refuse: Problem | undefined = problem;
  const link = open({ refuse: () => refuse });
  await settle();
  expect(statuses.at(-1)).toEqual({ kind: "waiting", attempts: 1, problem });
  refuse = undefined;
  link.retryNow();
  await settle();
  expect(statuses.at(-1)).toEqual({ kind: "live" });
  link.stop();
});

test("after stop nothing is opened any more", async () => {
  const link = open();
  await settle();
  link.stop();
  await vi.advanceTimersByTimeAsync(60_000);
  expect([addresses, lost]).toEqual([1, 0]);
});
