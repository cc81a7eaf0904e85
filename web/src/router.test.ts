import { expect, test } from "vitest";
import { Router } from "./router";

/** The part of a window that a router uses. */
class FakeWindow extends EventTarget {
  entries: { path: string; state: unknown }[];
  at = 0;
  scrolled = 0;

  constructor(path: string, state: unknown = null) {
    super();
    this.entries = [{ path, state }];
  }

  get location(): { pathname: string } {
    return { pathname: this.entries[this.at]?.path ?? "/" };
  }

  readonly history = {
    owner: this,
    get state(): unknown {
      return this.owner.entries[this.owner.at]?.state;
    },
    pushState: (state: unknown, _title: string, path: string): void => {
      this.entries = [...this.entries.slice(0, this.at + 1), { path, state }];
      this.at++;
    },
    replaceState: (state: unknown): void => {
      this.entries[this.at] = { path: this.location.pathname, state };
    },
  };

  scrollTo(): void {
    this.scrolled++;
  }

  back(): void {
    this.at--;
    this.dispatchEvent(new Event("popstate"));
  }
}

function open(path: string, state?: unknown): { browser: FakeWindow; router: Router } {
  const browser = new FakeWindow(path, state);
  return { browser, router: new Router(browser as unknown as Window) };
}

test("the address says which page is shown, and going back shows the one before", () => {
  const { browser, router } = open("/");
  const shown: string[] = [];
  router.route.subscribe(() => shown.push(browser.location.pathname));
  router.session("desk-1");
  expect(router.route.get()).toEqual({ page: "session", id: "desk-1" });
  browser.back();
  expect(router.route.get()).toEqual({ page: "home" });
  router.session("desk-2");
  router.home();
  expect(shown).toEqual(["/sessions/desk-1", "/", "/sessions/desk-2", "/"]);
  expect(browser.scrolled).toBe(3);
});

test("a launch stays with its page until it is answered, over a reload too", () => {
  const launch = { id: "desk-1", template: "desktop" };
  const { browser, router } = open("/");
  router.session("desk-1", launch);
  expect(router.pendingLaunch()).toEqual(launch);
  const reloaded = new Router(browser as unknown as Window);
  expect(reloaded.route.get()).toEqual({ page: "session", id: "desk-1" });
  expect(reloaded.pendingLaunch()).toEqual(launch);
  reloaded.launchAnswered();
  expect(reloaded.pendingLaunch()).toBeUndefined();
  expect(browser.location.pathname).toBe("/sessions/desk-1");
});

test("what others keep in the history is no launch", () => {
  for (const state of [null, undefined, "text", 7, {}]) {
    expect(open("/sessions/desk-1", state).router.pendingLaunch()).toBeUndefined();
  }
});
