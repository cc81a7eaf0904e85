import type { JSX, RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";
import { readClipboard, readPermission, writeClipboard, type ReadPermission } from "./clipboard";
import type { Display } from "./display";

interface ClipboardPanelProps {
  display: RefObject<Display | null>;
  copied: { text: string; placed: boolean } | undefined;
  terminal: boolean;
  /** Text was handed to the session. */
  onSent(): void;
}

/** Moves text between here and the session by hand, for browsers that forbid doing so unasked. */
export function ClipboardPanel({ display, copied, terminal, onSent }: ClipboardPanelProps): JSX.Element {
  const [text, setText] = useState(copied?.text ?? display.current?.selection() ?? "");
  const [note, setNote] = useState("");
  const [permission, setPermission] = useState<ReadPermission>("denied");
  useEffect(() => {
    void readPermission().then(setPermission);
  }, []);
  useEffect(() => {
    if (copied) setText(copied.text);
  }, [copied]);

  const send = (): void => {
    display.current?.paste(text);
    onSent();
  };
  const copy = async (): Promise<void> => {
    setNote((await writeClipboard(text)) ? "Copied to this computer." : "The browser forbids it. Select the text and press Ctrl+C.");
  };
  const allow = async (): Promise<void> => {
    const read = await readClipboard();
    if (read !== undefined) {
      setText(read);
      display.current?.paste(read);
    }
    const now = await readPermission();
    setPermission(now);
    setNote(now === "granted" ? "Text that you copy elsewhere now reaches the session by itself." : "The browser did not allow it.");
  };

  return (
    <div class="clipboard">
      <label class="field">
        {terminal ? "Text to type into the terminal, or to copy out of it" : "Text of the session's clipboard"}
        <textarea rows={5} value={text} data-testid="clipboard-text" spellcheck={false} onInput={(event) => setText(event.currentTarget.value)} />
      </label>
      <div class="panel-actions">
        <button type="button" class="button small primary" data-testid="clipboard-send" onClick={send} disabled={text === ""}>
          {terminal ? "Paste into the terminal" : "Send to the session"}
        </button>
        <button type="button" class="button small" data-testid="clipboard-copy" onClick={() => void copy()} disabled={text === ""}>
          Copy to this computer
        </button>
      </div>
      {!terminal && permission === "prompt" && (
        <button type="button" class="button small quiet" onClick={() => void allow()}>
          Let this page read my clipboard by itself…
        </button>
      )}
      <p class="hint" role="status">
        {note}
      </p>
    </div>
  );
}
