import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { LaunchRequest } from "../api/types";
import { newSessionId } from "../launch/id";
import type { Router } from "../router";
import type { Console } from "../store/console";
import { useStore } from "../store/store";
import { Mark } from "../ui/icons";
import { ThemeToggle } from "../ui/ThemeToggle";
import { AgentsStrip } from "./AgentsStrip";
import { ConnectionBanner } from "./ConnectionBanner";
import { Gallery } from "./Gallery";
import { SessionList } from "./SessionList";

/** Templates and agents change without events, so they are read again this often. */
const catalogMs = 10_000;

export function Home({ model, router }: { model: Console; router: Router }): JSX.Element {
  const user = useStore(model.store, (state) => state.user);
  useEffect(() => {
    document.title = "StreamSpace";
    const refresh = (): void => {
      if (document.visibilityState === "visible") void model.refreshCatalog();
    };
    void model.refreshCatalog();
    void model.refreshSessions();
    const timer = setInterval(refresh, catalogMs);
    document.addEventListener("visibilitychange", refresh);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", refresh);
    };
  }, [model]);

  const launch = (template: string, name?: string): void => {
    const request: LaunchRequest = { id: newSessionId(template), template, ...(name ? { name } : {}) };
    void model.launch(request);
    router.session(request.id, request);
  };

  return (
    <>
      <a class="skip-link" href="#content">
        Skip to content
      </a>
      <header class="top-bar">
        <div class="top-bar-inner">
          <span class="brand">
            <Mark />
            StreamSpace
          </span>
          <div class="top-bar-end">
            <AgentsStrip model={model} />
            {user && (
              <span class="user" title={`Signed in as ${user.name} (${user.role})`}>
                {user.name}
              </span>
            )}
            <ThemeToggle />
          </div>
        </div>
      </header>
      <main id="content" class="content" tabIndex={-1}>
        <h1 class="visually-hidden">Console</h1>
        <ConnectionBanner model={model} />
        <Gallery model={model} launch={launch} />
        <SessionList model={model} router={router} launch={launch} />
      </main>
    </>
  );
}
