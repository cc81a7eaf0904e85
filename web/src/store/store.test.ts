import { expect, test } from "vitest";
import { createStore } from "./store";

test("watchers hear of other values, and of those alone", () => {
  const store = createStore(1);
  const heard: number[] = [];
  const forget = store.subscribe(() => heard.push(store.get()));
  store.update((value) => value + 1);
  store.update((value) => value);
  store.update(() => Number.NaN);
  store.update(() => Number.NaN);
  forget();
  store.update(() => 5);
  expect(heard).toEqual([2, Number.NaN]);
  expect(store.get()).toBe(5);
});

test("a watcher may leave, or another come, while they are told", () => {
  const store = createStore(0);
  const heard: string[] = [];
  const forgetFirst = store.subscribe(() => {
    heard.push("first");
    forgetFirst();
    store.subscribe(() => heard.push("late"));
  });
  store.subscribe(() => heard.push("second"));
  store.update(() => 1);
  expect(heard).toEqual(["first", "second"]);
  store.update(() => 2);
  expect(heard).toEqual(["first", "second", "second", "late"]);
});
