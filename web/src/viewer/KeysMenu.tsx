import type { JSX } from "preact";
import type { Key } from "./display";
import { chords } from "./keys";

/** Keys that never reach the page, or do something else to the browser. */
export function KeysMenu({ send }: { send(keys: readonly Key[]): void }): JSX.Element {
  return (
    <div class="keys">
      {chords.map((chord) => (
        <button key={chord.id} type="button" class="button small" data-testid={`keys-${chord.id}`} onClick={() => send(chord.keys)}>
          {chord.label}
        </button>
      ))}
    </div>
  );
}
