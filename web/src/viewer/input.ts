import { asProblem } from "../api/problem";

/** How often input is reported at most. */
const everyMs = 30_000;

/** Reports that a session is used: at once, and what follows soon afterwards together. */
export class InputReporter {
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** Whether something is to be reported when the timer ends. */
  private again = false;

  constructor(private readonly report: () => Promise<void>) {}

  /** Hears of input. */
  note(): void {
    this.again = true;
    if (this.timer === undefined) this.send();
  }

  /** Ends the reports. */
  stop(): void {
    clearTimeout(this.timer);
  }

  private send(): void {
    this.timer = undefined;
    if (!this.again) return;
    this.again = false;
    this.report().catch((thrown: unknown) => {
      if (asProblem(thrown).retryable) this.again = true;
    });
    this.timer = setTimeout(() => this.send(), everyMs);
  }
}

/** Calls heard for whatever a person does on the element, until the returned function is called. */
export function onInput(element: HTMLElement, heard: () => void): () => void {
  const listen = (event: Event): void => {
    // Browsers tell of a pointer that rests when what is below it changes.
    if (event instanceof PointerEvent && event.type === "pointermove" && event.movementX === 0 && event.movementY === 0) return;
    heard();
  };
  const kinds = ["keydown", "pointerdown", "pointermove", "wheel", "paste"];
  for (const kind of kinds) element.addEventListener(kind, listen, { capture: true, passive: true });
  return () => {
    for (const kind of kinds) element.removeEventListener(kind, listen, { capture: true });
  };
}
