import { expect, test } from "vitest";
import { Backoff } from "./backoff";

test("delays double up to the cap and are never zero", () => {
  const longest = new Backoff({ base: 100, cap: 1000, random: () => 1 });
  expect([1, 2, 3, 4, 5, 6].map(() => longest.next())).toEqual([100, 200, 400, 800, 1000, 1000]);
  const shortest = new Backoff({ base: 100, cap: 1000, random: () => 0 });
  expect([1, 2, 3].map(() => shortest.next())).toEqual([50, 100, 200]);
});

test("a reset begins anew", () => {
  const backoff = new Backoff({ base: 100, cap: 1000, random: () => 1 });
  backoff.next();
  backoff.next();
  expect(backoff.attempts).toBe(2);
  backoff.reset();
  expect(backoff.attempts).toBe(0);
  expect(backoff.next()).toBe(100);
});
