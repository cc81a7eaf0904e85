import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import type { Template } from "../api/types";
import { Dialog } from "../ui/Dialog";

interface LaunchDialogProps {
  template: Template;
  launch(name: string | undefined): void;
  onDone(): void;
}

/** Launches a template under a name of the user's choice. */
export function LaunchDialog({ template, launch, onDone }: LaunchDialogProps): JSX.Element {
  const input = useRef<HTMLInputElement>(null);
  return (
    <Dialog title={`Launch ${template.displayName}`} onDismiss={onDone}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          launch(input.current?.value.trim() || undefined);
        }}
      >
        <label class="field">
          Name
          <input ref={input} type="text" maxLength={100} placeholder={template.displayName} autocomplete="off" data-testid="launch-name" autofocus />
        </label>
        <p class="hint">It only helps you to tell your sessions apart.</p>
        <div class="dialog-actions">
          <button type="button" class="button" onClick={onDone}>
            Cancel
          </button>
          <button type="submit" class="button primary" data-testid="launch-confirm">
            Launch
          </button>
        </div>
      </form>
    </Dialog>
  );
}
