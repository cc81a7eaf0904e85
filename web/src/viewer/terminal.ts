import { FitAddon } from "@xterm/addon-fit";
import { Terminal, type ITheme } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { openByteStream, type ByteStream } from "./bytestream";
import type { Display, DisplayOptions } from "./display";
import { binaryBytes, inputMessages, isTerminalReply, resizeMessage } from "./framing";
import type { ScreenEnd } from "./link";

const theme: ITheme = {
  background: "#0d1017",
  foreground: "#d7dae0",
  cursor: "#a5b4fc",
  cursorAccent: "#0d1017",
  selectionBackground: "#3b4a75",
  black: "#1c212b",
  red: "#f07178",
  green: "#91c77b",
  yellow: "#e6c07b",
  blue: "#7aa2f7",
  magenta: "#c397d8",
  cyan: "#6cc5cf",
  white: "#c8ccd4",
  brightBlack: "#6b7383",
  brightRed: "#ff8f95",
  brightGreen: "#b0e297",
  brightYellow: "#ffd88f",
  brightBlue: "#9ebcff",
  brightMagenta: "#dcb4ee",
  brightCyan: "#8fe1ea",
  brightWhite: "#ffffff",
};

/** How many bytes may wait to be parsed before no more are read. */
const parseAhead = 512 * 1024;

/** Shows a terminal session, in a terminal that fills the target. */
export function openTerminal(options: DisplayOptions): Display {
  const terminal = new Terminal({
    theme,
    fontFamily: 'ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace',
    fontSize: 14,
    lineHeight: 1.15,
    scrollback: 5_000,
    cursorBlink: true,
    macOptionIsMeta: true,
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  const host = document.createElement("div");
  host.className = "terminal-host";
  // What the last stream showed stays visible until this one has something to show.
  host.style.visibility = "hidden";
  options.target.append(host);
  terminal.open(host);
  fit.fit();

  const encoder = new TextEncoder();
  let stream: ByteStream | undefined;
  const input = (bytes: Uint8Array<ArrayBuffer>): void => {
    for (const message of inputMessages(bytes)) stream?.send(message);
  };

  // The stream starts with a replay of what was shown before. Queries in it were
  // answered then, or nobody waits for them any more: answering again would type
  // the answers into the shell. The replay is over when all that came is parsed.
  let replaying = true;
  terminal.onData((data) => {
    if (replaying && isTerminalReply(data)) return;
    input(encoder.encode(data));
  });
  terminal.onBinary((data) => input(binaryBytes(data)));
  terminal.onResize(({ cols, rows }) => stream?.send(resizeMessage(cols, rows)));
  terminal.parser.registerOscHandler(52, (data) => {
    const copied = osc52Text(data);
    if (copied !== undefined) options.onCopied(copied);
    return true;
  });
  terminal.attachCustomKeyEventHandler((event) => handleCopyKeys(event, terminal));

  const observer = new ResizeObserver(() => fit.fit());
  observer.observe(options.target);

  let waiting = 0;
  let drained: (() => void)[] = [];
  const closed = new Promise<ScreenEnd>((resolve) => {
    stream = openByteStream(options.address, {
      onOpen() {
        stream?.send(resizeMessage(terminal.cols, terminal.rows));
        host.style.visibility = "";
        options.onLive();
      },
      onData(bytes) {
        waiting += bytes.length;
        terminal.write(bytes, () => {
          waiting -= bytes.length;
          if (waiting === 0) replaying = false;
          if (waiting < parseAhead) {
            for (const continueReading of drained) continueReading();
            drained = [];
          }
        });
        if (waiting < parseAhead) return Promise.resolve();
        return new Promise((continueReading) => {
          drained.push(continueReading);
        });
      },
      onClose(message) {
        observer.disconnect();
        // What was shown last stays on the page; it just takes nothing in any more.
        terminal.options.disableStdin = true;
        terminal.options.cursorBlink = false;
        resolve(message === undefined ? {} : { message });
      },
    });
  });

  return {
    closed,
    close: () => stream?.close(),
    discard() {
      observer.disconnect();
      terminal.dispose();
      host.remove();
    },
    focus: () => terminal.focus(),
    releaseKeys: () => undefined,
    paste: (text) => terminal.paste(text),
    selection: () => terminal.getSelection(),
  };
}

/**
 * Makes Ctrl+Shift+C copy, which browsers would take for themselves, and leaves
 * Ctrl+Shift+V to the browser, whose paste event the terminal hears.
 */
function handleCopyKeys(event: KeyboardEvent, terminal: Terminal): boolean {
  if (!event.ctrlKey || !event.shiftKey || event.altKey) return true;
  if (event.code === "KeyV") return false;
  if (event.code !== "KeyC") return true;
  event.preventDefault();
  if (event.type === "keydown" && terminal.hasSelection()) {
    void navigator.clipboard?.writeText(terminal.getSelection()).catch(() => undefined);
  }
  return false;
}

/** Reads what a program in the session copies by OSC 52; it can set the clipboard, never read it. */
function osc52Text(data: string): string | undefined {
  const encoded = data.slice(data.indexOf(";") + 1);
  if (encoded === "" || encoded === "?") return undefined;
  try {
    return new TextDecoder().decode(binaryBytes(atob(encoded)));
  } catch {
    return undefined;
  }
}
