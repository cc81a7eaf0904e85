import type { Screen } from "./link";

export type Quality = "sharp" | "balanced" | "light";

/** A shown session, whatever its protocol. */
export interface Display extends Screen {
  /** Takes what was shown last off the page; closing leaves it there. */
  discard(): void;
  focus(): void;
  /** Lets go of keys that are held, when the keyboard goes elsewhere. */
  releaseKeys(): void;
  /** Hands text to the session: its clipboard, or for a terminal its input. */
  paste(text: string): void;
  /** The text that is selected here, for protocols that select on this side. */
  selection(): string;
  /** Undefined for protocols that know no such keys. */
  sendKeys?: (keys: readonly Key[]) => void;
  setScaled?: (scaled: boolean) => void;
  setQuality?: (quality: Quality) => void;
}

/** A key as X knows it and as browsers name it. */
export interface Key {
  keysym: number;
  code: string;
}

export interface DisplayOptions {
  target: HTMLElement;
  address: string;
  onLive(): void;
  /** Hears text that was copied inside the session. */
  onCopied(text: string): void;
  scaled: boolean;
  quality: Quality;
}
