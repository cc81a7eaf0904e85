import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { streamUrl, type Api } from "../api/client";
import { asProblem, type Problem } from "../api/problem";
import { isEnded, type Ticket } from "../api/types";
import { newSessionId } from "../launch/id";
import type { Router } from "../router";
import type { Console } from "../store/console";
import { useStore } from "../store/store";
import { awayNotice, limitNotice } from "../ui/format";
import { StopDialog } from "../ui/StopDialog";
import { useNow } from "../ui/useNow";
import { readClipboard, readPermission, writeClipboard } from "./clipboard";
import type { Display, DisplayOptions, Quality } from "./display";
import { InputReporter, onInput } from "./input";
import { isToolbarShortcut } from "./keys";
import { Link, type LinkStatus } from "./link";
import { Overlay } from "./Overlay";
import { judgePhase } from "./phase";
import { Toolbar } from "./Toolbar";

interface ViewerPageProps {
  id: string;
  api: Api;
  model: Console;
  router: Router;
}

/** How long the viewer waits before it asks again for a session that it could not read. */
const rereadMs = 3_000;

/** A session, filling the window. */
export function ViewerPage({ id, api, model, router }: ViewerPageProps): JSX.Element {
  const session = useStore(model.store, (state) => state.sessions.get(id));
  const launch = useStore(model.store, (state) => state.launches.get(id));
  const [missing, setMissing] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const [link, setLink] = useState<LinkStatus>();
  const [unwoken, setUnwoken] = useState<Problem>();
  const [stopping, setStopping] = useState(false);
  const [scaled, setScaled] = useState(false);
  const [quality, setQuality] = useState<Quality>("balanced");
  const [copied, setCopied] = useState<{ text: string; placed: boolean }>();
  const root = useRef<HTMLDivElement>(null);
  const screen = useRef<HTMLDivElement>(null);
  const display = useRef<Display | null>(null);
  const lastShown = useRef<Display | null>(null);
  const current = useRef<Link | null>(null);
  const settings = useRef({ scaled, quality });
  settings.current = { scaled, quality };

  useEffect(() => {
    // After a reload the server may not have heard of the launch: the same id makes repeating it safe.
    const pending = router.pendingLaunch();
    if (pending?.id === id && !model.store.get().launches.has(id) && !model.store.get().sessions.has(id)) {
      void model.launch(pending);
    }
  }, [id]);

  useEffect(() => {
    if (session && !launch && router.pendingLaunch()) router.launchAnswered();
  }, [session, launch]);

  // Without a launch under way, the session is read until the server knows or denies it.
  const unknown = session === undefined && launch === undefined && !missing;
  useEffect(() => {
    if (!unknown) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let over = false;
    const read = async (): Promise<void> => {
      try {
        const found = await model.refreshSession(id);
        if (!over) setMissing(!found);
      } catch (thrown) {
        if (over) return;
        setProblem(asProblem(thrown));
        timer = setTimeout(() => void read(), rereadMs);
      }
    };
    void read();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [id, unknown]);

  const wake = (): void => {
    setUnwoken(undefined);
    void model.wake(id).catch((thrown: unknown) => setUnwoken(asProblem(thrown)));
  };
  // Opening a session that is asleep wakes it. One that falls asleep in front of
  // its viewer, as when nobody uses it, is left to sleep.
  const asleep = session?.state === "hibernated";
  const opening = useRef<string | undefined>(undefined);
  useEffect(() => {
    if (!session || opening.current === id) return;
    opening.current = id;
    if (asleep) wake();
  }, [id, session !== undefined, asleep]);

  const running = session?.state === "running";
  const protocol = session?.protocol;
  useEffect(() => {
    if (!running || !protocol) return;
    const opened = new Link({
      address: async () => addressOf(id, await api.ticket(id)),
      async open(address, onLive) {
        const target = screen.current;
        if (!target) throw new Error("The page has no place for the session.");
        const open = await loadDisplay(protocol);
        const shown = open({
          target,
          address,
          ...settings.current,
          onLive() {
            lastShown.current?.discard();
            lastShown.current = shown;
            onLive();
            if (!document.querySelector("dialog[open]")) shown.focus();
            void syncClipboard(shown, protocol === "vnc");
          },
          onCopied: (text) => void writeClipboard(text).then((placed) => setCopied({ text, placed })),
        });
        display.current = shown;
        void shown.closed.then(() => {
          if (lastShown.current !== shown) shown.discard();
        });
        return shown;
      },
      onStatus: setLink,
      onLost() {
        display.current = null;
        // The reason for the loss may be the session's end.
        void model.refreshSession(id).then(
          (found) => setMissing(!found),
          () => undefined,
        );
      },
    });
    current.current = opened;
    return () => {
      opened.stop();
      current.current = null;
      display.current = null;
      setLink(undefined);
    };
  }, [id, running, protocol]);

  const limited = running && session.idleTimeout !== undefined;
  useEffect(() => {
    if (!limited || !root.current) return;
    const reporter = new InputReporter(() => api.reportActivity(id));
    const quiet = onInput(root.current, () => reporter.note());
    return () => {
      quiet();
      reporter.stop();
    };
  }, [id, limited]);

  const now = useNow();
  const ending = session && limitNotice(session, now);
  const away = session && awayNotice(session, now);

  useEffect(() => () => lastShown.current?.discard(), []);

  useEffect(() => {
    const retry = (): void => current.current?.retryNow();
    const onFocus = (): void => {
      if (display.current) void syncClipboard(display.current, protocol === "vnc");
    };
    const onKey = (event: KeyboardEvent): void => {
      if (event.type !== "keydown" || !isToolbarShortcut(event)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      display.current?.releaseKeys();
      root.current?.querySelector<HTMLElement>("[data-toolbar-first]")?.focus();
    };
    window.addEventListener("online", retry);
    window.addEventListener("focus", onFocus);
    window.addEventListener("keydown", onKey, { capture: true });
    return () => {
      window.removeEventListener("online", retry);
      window.removeEventListener("focus", onFocus);
      window.removeEventListener("keydown", onKey, { capture: true });
    };
  }, [protocol]);

  const templates = useStore(model.store, (state) => state.templates);
  const template = templates?.find((one) => one.name === launch?.request.template);
  const name = session?.name ?? launch?.request.name ?? template?.displayName ?? "Session";
  useEffect(() => {
    document.title = `${name} · StreamSpace`;
  }, [name]);

  const phase = useMemo(() => judgePhase({ session, launch, missing, problem, link, unwoken, away }), [session, launch, missing, problem, link, unwoken, away]);
  const reload = (): void => {
    display.current?.close();
    // The link has noticed by then, and waits.
    setTimeout(() => current.current?.retryNow());
  };
  const home = (): void => router.home();
  const again = (): void => {
    const template = session?.template ?? launch?.request.template;
    if (!template) return home();
    model.forgetLaunch(id);
    const wanted = session?.name ?? launch?.request.name;
    const request = { id: newSessionId(template), template, ...(wanted ? { name: wanted } : {}) };
    void model.launch(request);
    router.session(request.id, request);
  };

  return (
    <div ref={root} class="viewer" data-phase={phase.kind}>
      <Toolbar
        name={name}
        phase={phase}
        protocol={protocol}
        display={display}
        copied={copied}
        scaled={scaled}
        quality={quality}
        onScaled={(value) => {
          setScaled(value);
          display.current?.setScaled?.(value);
        }}
        onQuality={(value) => {
          setQuality(value);
          display.current?.setQuality?.(value);
        }}
        onBack={home}
        {...(session && !isEnded(session.state) && session.state !== "terminating" ? { onStop: () => setStopping(true) } : {})}
        onFullscreen={() => toggleFullscreen(root.current)}
        {...(protocol === "http" && running ? { onReload: reload, onOpen: () => openTab(api.ticket(id)) } : {})}
      />
      <main class="screen" data-testid="viewer" aria-label={`Screen of ${name}`}>
        <div ref={screen} class={`screen-target ${protocol ?? ""}`} data-testid={protocol === "terminal" ? "terminal" : undefined} />
      </main>
      {ending && phase.kind === "live" && (
        <p class="ending" role="status" data-testid="session-ending">
          {ending}
        </p>
      )}
      {phase.kind !== "live" && <Overlay phase={phase} onBack={home} onAgain={again} onWake={wake} onRetry={() => current.current?.retryNow()} />}
      {stopping && session && <StopDialog session={session} stop={() => model.stop(id)} onDone={() => setStopping(false)} />}
    </div>
  );
}

/** Where a ticket leads: to the session's pages, or its stream. */
function addressOf(id: string, ticket: Ticket): string {
  return ticket.url ?? streamUrl(window.location, id, ticket.ticket);
}

/** Loads what a protocol needs only when a session speaks it. */
async function loadDisplay(protocol: string): Promise<(options: DisplayOptions) => Display> {
  if (protocol === "terminal") return (await import("./terminal")).openTerminal;
  if (protocol === "http") return (await import("./pages")).openPages;
  return (await import("./vnc")).openVnc;
}

/**
 * Brings the system's clipboard into the session where the browser lets it. A
 * terminal has no clipboard to bring it to: pasting is what users do there.
 */
async function syncClipboard(display: Display, wanted: boolean): Promise<void> {
  if (!wanted || !document.hasFocus() || (await readPermission()) !== "granted") return;
  const text = await readClipboard();
  if (text !== undefined) display.paste(text);
}

/** Opens a session's pages in a tab of their own, which has to be there before the ticket is. */
function openTab(ticket: Promise<Ticket>): void {
  const tab = window.open("about:blank", "_blank");
  if (!tab) return;
  tab.opener = null;
  void ticket.then(
    ({ url }) => (url ? tab.location.replace(url) : tab.close()),
    () => tab.close(),
  );
}

function toggleFullscreen(root: HTMLElement | null): void {
  if (document.fullscreenElement) {
    void document.exitFullscreen();
    return;
  }
  void root?.requestFullscreen().then(
    // Chromium then hands over keys like Alt+Tab and Escape too; holding Escape still leaves.
    () => keyboardOf(navigator)?.lock().catch(() => undefined),
    () => undefined,
  );
}

interface KeyboardLock {
  lock(): Promise<void>;
}

function keyboardOf(browser: Navigator): KeyboardLock | undefined {
  return (browser as Navigator & { keyboard?: KeyboardLock }).keyboard;
}
