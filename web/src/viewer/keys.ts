import type { Key } from "./display";

const control: Key = { keysym: 0xffe3, code: "ControlLeft" };
const alt: Key = { keysym: 0xffe9, code: "AltLeft" };
const meta: Key = { keysym: 0xffeb, code: "MetaLeft" };

/** The keys that a held modifier may be, so that they can be let go of. */
export const modifiers: readonly Key[] = [
  { keysym: 0xffe1, code: "ShiftLeft" },
  { keysym: 0xffe2, code: "ShiftRight" },
  control,
  { keysym: 0xffe4, code: "ControlRight" },
  alt,
  { keysym: 0xffea, code: "AltRight" },
  meta,
];

export interface KeyChord {
  id: string;
  label: string;
  keys: readonly Key[];
}

/** Keys that browsers or systems keep for themselves, offered in the viewer's menu. */
export const chords: readonly KeyChord[] = [
  { id: "ctrl-alt-del", label: "Ctrl + Alt + Del", keys: [control, alt, { keysym: 0xffff, code: "Delete" }] },
  { id: "alt-tab", label: "Alt + Tab", keys: [alt, { keysym: 0xff09, code: "Tab" }] },
  { id: "alt-f4", label: "Alt + F4", keys: [alt, { keysym: 0xffc1, code: "F4" }] },
  { id: "ctrl-w", label: "Ctrl + W", keys: [control, { keysym: 0x77, code: "KeyW" }] },
  { id: "super", label: "Super", keys: [meta] },
  { id: "escape", label: "Esc", keys: [{ keysym: 0xff1b, code: "Escape" }] },
  { id: "f11", label: "F11", keys: [{ keysym: 0xffc8, code: "F11" }] },
];

/** Tells whether the event is the shortcut that brings the keyboard to the viewer's toolbar. */
export function isToolbarShortcut(event: Pick<KeyboardEvent, "code" | "ctrlKey" | "altKey" | "shiftKey">): boolean {
  return event.code === "KeyM" && event.ctrlKey && event.altKey && event.shiftKey;
}

export const toolbarShortcut = "Ctrl + Alt + Shift + M";
