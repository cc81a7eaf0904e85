/** Whether the browser lets this page read the system's clipboard unasked. */
export type ReadPermission = "granted" | "prompt" | "denied";

/** Puts text on the system's clipboard; false when the browser forbids it. */
export async function writeClipboard(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** Reads the system's clipboard; undefined when the browser forbids it or it holds no text. */
export async function readClipboard(): Promise<string | undefined> {
  try {
    const text = await navigator.clipboard.readText();
    return text === "" ? undefined : text;
  } catch {
    return undefined;
  }
}

/**
 * Tells whether reading would succeed, ask the user, or fail. Browsers that do not
 * know the permission ask or show a paste button each time, which nobody wants
 * unasked, so they count as denied.
 */
export async function readPermission(): Promise<ReadPermission> {
  if (!navigator.clipboard || typeof navigator.clipboard.readText !== "function") return "denied";
  try {
    const status = await navigator.permissions.query({ name: "clipboard-read" as PermissionName });
    return status.state;
  } catch {
    return "denied";
  }
}
