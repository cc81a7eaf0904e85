import { expect, test } from "vitest";
import { chords, isToolbarShortcut, modifiers } from "./keys";

test("the toolbar's shortcut is all of its keys", () => {
  const all = { code: "KeyM", ctrlKey: true, altKey: true, shiftKey: true };
  expect(isToolbarShortcut(all)).toBe(true);
  for (const less of [{ code: "KeyN" }, { ctrlKey: false }, { altKey: false }, { shiftKey: false }]) {
    expect(isToolbarShortcut({ ...all, ...less })).toBe(false);
  }
});

test("every chord holds modifiers and presses one key, under an id of its own", () => {
  expect(new Set(chords.map((chord) => chord.id)).size).toBe(chords.length);
  const held = new Set(modifiers.map((key) => key.code));
  for (const { label, keys } of chords) {
    for (const key of keys.slice(0, -1)) expect(held.has(key.code), label).toBe(true);
    expect(label.split(" + ")).toHaveLength(keys.length);
  }
});
