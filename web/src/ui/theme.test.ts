import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { chooseTheme, currentTheme, nextTheme, type Theme } from "./theme";

let stored: Map<string, string>;
let forbidden = false;

beforeEach(() => {
  stored = new Map();
  forbidden = false;
  const allowed = (): void => {
    if (forbidden) throw new DOMException("storage is forbidden", "SecurityError");
  };
  vi.stubGlobal("document", { documentElement: { dataset: {} } });
  vi.stubGlobal("localStorage", {
    setItem: (key: string, value: string) => {
      allowed();
      stored.set(key, value);
    },
    removeItem: (key: string) => {
      allowed();
      stored.delete(key);
    },
  });
});

afterEach(() => {
  vi.unstubAllGlobals();
});

test("the toggle goes round, and the choice is kept for the next page", () => {
  expect(currentTheme()).toBe("auto");
  const seen: [Theme, string | undefined][] = [];
  for (let press = 0; press < 3; press++) {
    chooseTheme(nextTheme(currentTheme()));
    seen.push([currentTheme(), stored.get("streamspace.theme")]);
  }
  expect(seen).toEqual([
    ["light", "light"],
    ["dark", "dark"],
    ["auto", undefined],
  ]);
});

test("without storage the choice lasts as long as the page", () => {
  forbidden = true;
  chooseTheme("dark");
  expect(currentTheme()).toBe("dark");
  chooseTheme("auto");
  expect(currentTheme()).toBe("auto");
});
