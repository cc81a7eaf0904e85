/**
 * The terminal stream's messages from viewer to session. The stream is bytes
 * inside WebSocket frames, and frame boundaries mean nothing.
 */

const inputTag = 0x00;
const resizeTag = 0x01;

/** The most input bytes that one message carries, so that a large paste delays no resize. */
export const inputChunk = 32 * 1024;

/** Frames typed or pasted bytes: 0x00, uint32 length (big-endian), the bytes. Empty input makes no message. */
export function inputMessages(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>[] {
  const messages: Uint8Array<ArrayBuffer>[] = [];
  for (let start = 0; start < bytes.length; start += inputChunk) {
    const part = bytes.subarray(start, start + inputChunk);
    const message = new Uint8Array(5 + part.length);
    const view = new DataView(message.buffer);
    view.setUint8(0, inputTag);
    view.setUint32(1, part.length);
    message.set(part, 5);
    messages.push(message);
  }
  return messages;
}

/** Frames a new window size: 0x01, uint16 columns, uint16 rows (big-endian). */
export function resizeMessage(columns: number, rows: number): Uint8Array<ArrayBuffer> {
  const message = new Uint8Array(5);
  const view = new DataView(message.buffer);
  view.setUint8(0, resizeTag);
  view.setUint16(1, clampSize(columns));
  view.setUint16(3, clampSize(rows));
  return message;
}

/** Takes the bytes of one xterm.js binary string, a character per byte. */
export function binaryBytes(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0) & 0xff);
}

/**
 * Tells whether data is a terminal's own answer to a query (cursor position,
 * device attributes, mode or colour reports, status strings), not something typed.
 */
export function isTerminalReply(data: string): boolean {
  // eslint-disable-next-line no-control-regex
  return /^(?:\x1b\[[?>=]?[\d;]*(?:R|c|n|t|\$y)|\x1b\][\s\S]*(?:\x07|\x1b\\)|\x1bP[\s\S]*\x1b\\)+$/.test(data);
}

function clampSize(cells: number): number {
  return Math.min(0xffff, Math.max(1, Math.floor(cells)));
}
