import type { LaunchRequest } from "./api/types";
import { createStore, type Store } from "./store/store";

export type Route = { page: "home" } | { page: "session"; id: string };

/** Reads an address of the console; the server answers no others with the console. */
export function parsePath(path: string): Route {
  const match = /^\/sessions\/([a-z0-9][a-z0-9-]{0,62})$/.exec(path);
  return match?.[1] ? { page: "session", id: match[1] } : { page: "home" };
}

/** The page that is shown, kept in the browser's address and history. */
export class Router {
  readonly route: Store<Route>;

  constructor(private readonly browser: Window) {
    this.route = createStore(parsePath(browser.location.pathname));
    browser.addEventListener("popstate", () => this.read());
  }

  home(): void {
    this.go("/", null);
  }

  /**
   * Shows a session. A launch that the server may not have heard of yet is kept in
   * the history entry, so that reloading the page sends it again instead of
   * finding no such session.
   */
  session(id: string, launch?: LaunchRequest): void {
    this.go(`/sessions/${id}`, launch ? { launch } : null);
  }

  /** The launch kept in the history entry of the page that is shown. */
  pendingLaunch(): LaunchRequest | undefined {
    const state: unknown = this.browser.history.state;
    if (typeof state !== "object" || state === null || !("launch" in state)) return undefined;
    return state.launch as LaunchRequest;
  }

  /** Forgets the launch kept with the page, once the server has answered it. */
  launchAnswered(): void {
    this.browser.history.replaceState(null, "");
  }

  private go(path: string, state: unknown): void {
    this.browser.history.pushState(state, "", path);
    this.read();
    this.browser.scrollTo(0, 0);
  }

  private read(): void {
    this.route.update(() => parsePath(this.browser.location.pathname));
  }
}
