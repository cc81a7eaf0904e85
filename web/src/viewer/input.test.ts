import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Problem } from "../api/problem";
import { InputReporter } from "./input";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

test("input is reported at once and then at most twice a minute, the last of it too", async () => {
  const report = vi.fn(() => Promise.resolve());
  const reporter = new InputReporter(report);
  reporter.note();
  expect(report).toHaveBeenCalledTimes(1);
  for (let second = 1; second < 30; second++) {
    await vi.advanceTimersByTimeAsync(1_000);
    reporter.note();
  }
  expect(report).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(report).toHaveBeenCalledTimes(2);
  await vi.advanceTimersByTimeAsync(300_000); // nobody does anything
  expect(report).toHaveBeenCalledTimes(2);
  reporter.note();
  expect(report).toHaveBeenCalledTimes(3);
  reporter.note();
  reporter.stop();
  await vi.advanceTimersByTimeAsync(300_000);
  expect(report).toHaveBeenCalledTimes(3);
});

test("a report that may succeed later is made again, and no other", async () => {
  const failures = [true, false];
  const report = vi.fn(() => {
    const retryable = failures.shift();
    return retryable === undefined ? Promise.resolve() : Promise.reject(new Problem("", "unavailable", 503, retryable));
  });
  new InputReporter(report).note();
  await vi.advanceTimersByTimeAsync(300_000);
  expect(report).toHaveBeenCalledTimes(2);
});
