import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Problem } from "../api/problem";
import { Backoff } from "../backoff";
import type { ServerEvent } from "./sse";
import { EventStream, type StreamState } from "./stream";

/** One answer to the opening of a stream, which a test writes to. */
class Answer {
  private controller!: ReadableStreamDefaultController<Uint8Array>;
  readonly response: Response;

  constructor(signal: AbortSignal) {
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.controller = controller;
      },
    });
    signal.addEventListener("abort", () => this.controller.error(new DOMException("given up", "AbortError")));
    this.response = new Response(body);
  }

  write(text: string | Uint8Array): void {
    this.controller.enqueue(typeof text === "string" ? new TextEncoder().encode(text) : text);
  }

  end(): void {
    this.controller.close();
  }

  breakOff(): void {
    this.controller.error(new TypeError("network error"));
  }
}

let answers: Answer[] = [];
let events: ServerEvent[] = [];
let states: StreamState[] = [];
let problems: Problem[] = [];
let refusal: unknown;
let hang = false;

beforeEach(() => {
  vi.useFakeTimers();
  answers = [];
  events = [];
  states = [];
  problems = [];
  refusal = undefined;
  hang = false;
});

afterEach(() => {
  vi.useRealTimers();
});

function follow(onEvent: (event: ServerEvent) => void = (event) => events.push(event)): EventStream {
  const stream = new EventStream({
    open(signal) {
      if (hang) {
        return new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new DOMException("given up", "AbortError"))));
      }
      if (refusal !== undefined) return Promise.reject(refusal);
      const answer = new Answer(signal);
      answers.push(answer);
      return Promise.resolve(answer.response);
    },
    onEvent,
    onState: (state) => states.push(state),
    onProblem: (problem) => problems.push(problem),
    backoff: new Backoff({ base: 500, cap: 15_000, random: () => 1 }),
  });
  stream.start();
  return stream;
}

const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);

test("events are told as they come, also in pieces that cut characters", async () => {
  const stream = follow();
  await settle();
  expect(states).toEqual(["connecting", "live"]);
  const bytes = new TextEncoder().encode("event: session\ndata: ä€😀\n\n: ping\n\n");
  for (const byte of bytes) answers[0]?.write(Uint8Array.of(byte));
  await settle();
  expect(events).toEqual([{ event: "session", data: "ä€😀" }]);
  stream.pause();
});

test("a stream that ends or breaks is opened again, later each time", async () => {
  const stream = follow();
  await settle();
  for (const [attempt, delay] of [500, 1000, 2000].entries()) {
    if (attempt % 2 === 0) answers.at(-1)?.end();
    else answers.at(-1)?.breakOff();
    await settle();
    expect(states.at(-1)).toBe("reconnecting");
    await vi.advanceTimersByTimeAsync(delay - 1);
    expect(answers).toHaveLength(attempt + 1);
    await vi.advanceTimersByTimeAsync(1);
    expect(answers).toHaveLength(attempt + 2);
    expect(states.at(-1)).toBe("live");
  }
  expect(problems).toEqual([]);
  stream.pause();
});

test("half an event of a stream that broke is not told with the next", async () => {
  const stream = follow();
  await settle();
  answers[0]?.write("event: session\ndata: half");
  answers[0]?.breakOff();
  await vi.advanceTimersByTimeAsync(500);
  answers[1]?.write("event: snapshot\ndata: whole\n\n");
  await settle();
  expect(events).toEqual([{ event: "snapshot", data: "whole" }]);
  stream.pause();
});

test("only a stream that lived begins the waits anew", async () => {
  const stream = follow();
  await settle();
  answers[0]?.end();
  await vi.advanceTimersByTimeAsync(500);
  await vi.advanceTimersByTimeAsync(10_000);
  answers[1]?.end();
  await settle();
  await vi.advanceTimersByTimeAsync(500);
  expect(answers).toHaveLength(3);
  stream.pause();
});

test("silence ends a stream, and comments are no silence", async () => {
  const stream = follow();
  await settle();
  for (let ping = 0; ping < 5; ping++) {
    await vi.advanceTimersByTimeAsync(44_000);
    answers[0]?.write(": ping\n\n");
    await settle();
  }
  expect(answers).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(45_000);
  expect(states.at(-1)).toBe("reconnecting");
  expect(problems).toEqual([]);
  stream.pause();
});

test("a server that does not even answer is given up too", async () => {
  hang = true;
  const stream = follow();
  await vi.advanceTimersByTimeAsync(44_999);
  expect(states).toEqual(["connecting"]);
  await vi.advanceTimersByTimeAsync(1);
  expect(states).toEqual(["connecting", "reconnecting"]);
  stream.pause();
});

test("refusals are told and tried again", async () => {
  refusal = new Problem("the database is away", "unavailable", 503, true);
  const stream = follow();
  await settle();
  expect(problems).toEqual([refusal]);
  expect(states.at(-1)).toBe("reconnecting");
  refusal = undefined;
  stream.retryNow();
  await settle();
  expect(states.at(-1)).toBe("live");
  stream.pause();
});

test("what the page makes wrong of an event is a problem, and no end", async () => {
  const stream = follow(() => {
    throw new SyntaxError("no JSON");
  });
  await settle();
  answers[0]?.write("data: x\n\n");
  await settle();
  expect(problems.map((problem) => problem.detail)).toEqual(["no JSON"]);
  await vi.advanceTimersByTimeAsync(500);
  expect(answers).toHaveLength(2);
  stream.pause();
});

test("a pause ends everything until the next start", async () => {
  const stream = follow();
  await settle();
  stream.pause();
  stream.pause();
  await vi.advanceTimersByTimeAsync(120_000);
  expect([answers.length, states.at(-1), problems]).toEqual([1, "paused", []]);
  stream.start();
  stream.start();
  await settle();
  expect([answers.length, states.at(-1)]).toEqual([2, "live"]);
  answers[1]?.end();
  await settle();
  stream.pause(); // while it waits
  expect(vi.getTimerCount()).toBe(0);
  await vi.advanceTimersByTimeAsync(120_000);
  expect([answers.length, states.at(-1)]).toEqual([2, "paused"]);
});
