import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";

interface DialogProps {
  title: string;
  /** Escape, a press beside the dialog, and the browser's back gesture on phones. */
  onDismiss(): void;
  children: ComponentChildren;
}

/**
 * A modal dialog. The browser's own keeps the focus inside and gives it back to
 * where it was; the first control marked autofocus has it first.
 */
export function Dialog({ title, onDismiss, children }: DialogProps): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const element = dialog.current;
    const opener = document.activeElement;
    element?.showModal();
    return () => {
      element?.close();
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class="dialog"
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        onDismiss();
      }}
      // A click would count too when text is selected beyond the dialog's edge.
      onPointerDown={(event) => {
        if (event.target === dialog.current) onDismiss();
      }}
    >
      <div class="dialog-body">
        <h2 id={heading}>{title}</h2>
        {children}
      </div>
    </dialog>
  );
}
