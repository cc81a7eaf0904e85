import type { JSX, RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Protocol } from "../api/types";
import { Icon } from "../ui/icons";
import { ClipboardPanel } from "./ClipboardPanel";
import type { Display, Quality } from "./display";
import { KeysMenu } from "./KeysMenu";
import { toolbarShortcut } from "./keys";
import type { Phase } from "./phase";
import { Popover } from "./Popover";

interface ToolbarProps {
  name: string;
  phase: Phase;
  protocol: Protocol | undefined;
  display: RefObject<Display | null>;
  /** What was copied in the session last, and whether it reached the system's clipboard. */
  copied: { text: string; placed: boolean } | undefined;
  scaled: boolean;
  quality: Quality;
  onScaled(scaled: boolean): void;
  onQuality(quality: Quality): void;
  onBack(): void;
  /** Absent when there is nothing to stop. */
  onStop?: () => void;
  onFullscreen(): void;
  /** Loads the session's page anew, and opens it in a tab of its own; absent where there is none. */
  onReload?: () => void;
  onOpen?: () => void;
}

type Panel = "clipboard" | "keys" | "picture";

/** How long the bar stays after the picture arrives, so that it is known to be there. */
const introductionMs = 2_500;

/** The viewer's controls: a bar that hides above the window's edge while the picture is live. */
export function Toolbar(props: ToolbarProps): JSX.Element {
  const { name, phase, protocol, display, copied, scaled, quality } = props;
  const live = phase.kind === "live";
  const [panel, setPanel] = useState<Panel>();
  const [pinned, setPinned] = useState(true);
  const bar = useRef<HTMLElement>(null);
  useEffect(() => {
    setPinned(true);
    if (!live) return;
    const timer = setTimeout(() => setPinned(false), introductionMs);
    return () => clearTimeout(timer);
  }, [live]);

  const closePanel = (): void => setPanel(undefined);
  const toSession = (): void => {
    closePanel();
    setPinned(!live);
    display.current?.focus();
  };
  const toggle = (which: Panel) => () => setPanel(panel === which ? undefined : which);
  const unplaced = copied !== undefined && !copied.placed;
  const vnc = protocol !== "terminal" && protocol !== "http";

  return (
    <header
      ref={bar}
      class={`toolbar ${pinned || panel || !live ? "shown" : ""}`}
      data-testid="toolbar"
      onKeyDown={(event) => {
        if (event.key === "Escape" && live) {
          event.preventDefault();
          toSession();
        }
      }}
    >
      <div class="toolbar-bar" role="group" aria-label={`Session controls. Escape returns to the session, ${toolbarShortcut} comes here.`}>
        <button type="button" class="tool" data-toolbar-first data-testid="viewer-back" onClick={props.onBack} title="All sessions; this one keeps running">
          <Icon name="back" size={18} />
          <span class="tool-word">Sessions</span>
        </button>
        <span class="toolbar-name">{name}</span>
        <span class="viewer-status" role="status" data-testid="viewer-status" data-status={phase.kind}>
          <span class="dot" aria-hidden="true" />
          {phase.title}
        </span>
        <span class="toolbar-gap" />
        {protocol !== "http" && (
          <Popover
            icon="clipboard"
            label={unplaced ? "Clipboard: new text from the session" : "Clipboard"}
            open={panel === "clipboard"}
            marked={unplaced}
            disabled={!live}
            onToggle={toggle("clipboard")}
            testid="clipboard"
          >
            <ClipboardPanel display={display} copied={copied} terminal={!vnc} onSent={toSession} />
          </Popover>
        )}
        {props.onReload && (
          <button type="button" class="tool" data-testid="reload-pages" onClick={props.onReload} aria-label="Reload the page" title="Reload the page">
            <Icon name="reload" size={18} />
          </button>
        )}
        {props.onOpen && (
          <button type="button" class="tool" data-testid="open-pages" onClick={props.onOpen} aria-label="Open in a tab of its own" title="Open in a tab of its own">
            <Icon name="tab" size={18} />
          </button>
        )}
        {vnc && (
          <Popover icon="keyboard" label="Special keys" open={panel === "keys"} disabled={!live} onToggle={toggle("keys")} testid="keys">
            <KeysMenu
              send={(keys) => {
                display.current?.sendKeys?.(keys);
                toSession();
              }}
            />
          </Popover>
        )}
        {vnc && (
          <Popover icon="picture" label="Picture" open={panel === "picture"} disabled={!live} onToggle={toggle("picture")} testid="picture">
            <label class="field">
              Quality
              <select value={quality} data-testid="quality" onChange={(event) => props.onQuality(event.currentTarget.value as Quality)}>
                <option value="sharp">Sharp: fast networks</option>
                <option value="balanced">Balanced</option>
                <option value="light">Light: slow networks</option>
              </select>
            </label>
            <label class="check">
              <input type="checkbox" checked={scaled} onChange={(event) => props.onScaled(event.currentTarget.checked)} />
              Shrink a larger desktop to this window
            </label>
          </Popover>
        )}
        <button type="button" class="tool" onClick={props.onFullscreen} aria-label="Full screen" title="Full screen">
          <Icon name="fullscreen" size={18} />
        </button>
        <button type="button" class="tool danger" data-testid="stop-session" onClick={props.onStop} disabled={!props.onStop} title="Stop the session">
          <Icon name="stop" size={18} />
          <span class="tool-word">Stop</span>
        </button>
      </div>
      <button
        type="button"
        class="toolbar-handle"
        tabIndex={-1}
        aria-hidden="true"
        title={`Session controls (${toolbarShortcut})`}
        onClick={() => setPinned(!pinned)}
      />
    </header>
  );
}
