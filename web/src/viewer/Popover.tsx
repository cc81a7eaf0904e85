import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { Icon, type IconName } from "../ui/icons";

interface PopoverProps {
  icon: IconName;
  label: string;
  open: boolean;
  disabled: boolean;
  /** Draws attention to the button. */
  marked?: boolean;
  testid: string;
  onToggle(): void;
  children: ComponentChildren;
}

/** A button of the toolbar and the panel that it opens; a press elsewhere closes it. */
export function Popover({ icon, label, open, disabled, marked, testid, onToggle, children }: PopoverProps): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const panel = useId();
  useEffect(() => {
    if (!open) return;
    place.current?.querySelector<HTMLElement>(".panel textarea, .panel select, .panel button, .panel input")?.focus();
    const onPress = (event: PointerEvent): void => {
      if (event.target instanceof Node && !place.current?.contains(event.target)) onToggle();
    };
    document.addEventListener("pointerdown", onPress, { capture: true });
    return () => document.removeEventListener("pointerdown", onPress, { capture: true });
  }, [open]);
  return (
    <div ref={place} class="popover">
      <button
        type="button"
        class={`tool ${marked ? "marked" : ""}`}
        data-testid={`${testid}-toggle`}
        aria-label={label}
        title={label}
        aria-expanded={open}
        aria-controls={open ? panel : undefined}
        disabled={disabled}
        onClick={onToggle}
      >
        <Icon name={icon} size={18} />
      </button>
      {open && (
        <div id={panel} class="panel" role="group" aria-label={label} data-testid={`${testid}-panel`}>
          {children}
        </div>
      )}
    </div>
  );
}
