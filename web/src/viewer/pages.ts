import type { Display, DisplayOptions } from "./display";
import type { ScreenEnd } from "./link";

/** A page that loads for longer is shown as far as it is. */
const showAfterMs = 3_000;

/**
 * What a session's page may do. It may be of its own origin, if that is not
 * ours: on ours the server itself puts it into a sandbox without one. It may not
 * take this page's place.
 */
const sandbox =
  "allow-scripts allow-same-origin allow-forms allow-modals allow-popups allow-popups-to-escape-sandbox allow-downloads " +
  "allow-pointer-lock allow-orientation-lock allow-presentation";
const sharedSandbox = sandbox.replace("allow-same-origin ", "").replace("allow-popups-to-escape-sandbox ", "");

/** What the browser lets a session's page use as it lets this one. */
const allowed = "autoplay; clipboard-read; clipboard-write; display-capture; fullscreen; gamepad; keyboard-map; microphone; camera; midi; xr-spatial-tracking";

/** Shows a session's pages, in a frame that fills the target. */
export function openPages(options: DisplayOptions): Display {
  const frame = document.createElement("iframe");
  frame.className = "pages";
  frame.title = "The session's page";
  frame.allow = allowed;
  const shared = new URL(options.address, window.location.href).origin === window.location.origin;
  frame.setAttribute("sandbox", shared ? sharedSandbox : sandbox);
  frame.referrerPolicy = "no-referrer";
  frame.dataset["testid"] = "pages";

  let shown = false;
  const show = (): void => {
    if (shown) return;
    shown = true;
    clearTimeout(timer);
    options.onLive();
  };
  const timer = setTimeout(show, showAfterMs);
  frame.addEventListener("load", show);
  frame.src = options.address;
  options.target.append(frame);

  let end: (how: ScreenEnd) => void = () => undefined;
  const closed = new Promise<ScreenEnd>((resolve) => {
    end = resolve;
  });
  const close = (): void => {
    clearTimeout(timer);
    frame.removeEventListener("load", show);
    end({});
  };
  return {
    closed,
    close,
    discard() {
      close();
      frame.remove();
    },
    focus: () => frame.focus(),
    releaseKeys: () => undefined,
    paste: () => undefined,
    selection: () => "",
  };
}
