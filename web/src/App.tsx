import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { Api } from "./api/client";
import type { Router } from "./router";
import type { Console } from "./store/console";
import { useStore } from "./store/store";
import { ViewerPage } from "./viewer/ViewerPage";
import { Home } from "./views/Home";
import { SignedOut } from "./views/SignedOut";

/** A page that was hidden for longer than this stops listening. */
const hiddenMs = 15_000;

interface AppProps {
  api: Api;
  model: Console;
  router: Router;
}

export function App({ api, model, router }: AppProps): JSX.Element {
  const route = useStore(router.route, (value) => value);
  const signedOut = useStore(model.store, (state) => state.signedOut);
  useListening(model);
  if (signedOut) return <SignedOut />;
  if (route.page === "session") return <ViewerPage key={route.id} id={route.id} api={api} model={model} router={router} />;
  return <Home model={model} router={router} />;
}

/**
 * Listens to the server only while somebody may look: each listening page holds
 * one of the few connections that a browser opens to one server.
 */
function useListening(model: Console): void {
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const onVisibility = (): void => {
      clearTimeout(timer);
      if (document.visibilityState === "hidden") timer = setTimeout(() => model.pause(), hiddenMs);
      else model.resume();
    };
    const onOnline = (): void => model.retry();
    document.addEventListener("visibilitychange", onVisibility);
    window.addEventListener("online", onOnline);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", onVisibility);
      window.removeEventListener("online", onOnline);
    };
  }, [model]);
}
