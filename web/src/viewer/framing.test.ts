import { expect, test } from "vitest";
import { binaryBytes, inputChunk, inputMessages, isTerminalReply, resizeMessage } from "./framing";

test("input is framed with its length", () => {
  expect(inputMessages(Uint8Array.of(0x61, 0xff))).toEqual([Uint8Array.of(0, 0, 0, 0, 2, 0x61, 0xff)]);
  expect(inputMessages(new Uint8Array())).toEqual([]);
});

test("a large paste is several messages", () => {
  const pasted = new Uint8Array(2 * inputChunk + 1).fill(7);
  const messages = inputMessages(pasted);
  expect(messages.map((message) => message.length - 5)).toEqual([inputChunk, inputChunk, 1]);
});

test("sizes are big-endian and within bounds", () => {
  expect(resizeMessage(80, 24)).toEqual(Uint8Array.of(1, 0, 80, 0, 24));
  expect(resizeMessage(0, 70_000)).toEqual(Uint8Array.of(1, 0, 1, 0xff, 0xff));
});

test("a binary string is a byte a character", () => {
  expect(binaryBytes("\u0000a\u00ff")).toEqual(Uint8Array.of(0, 0x61, 0xff));
});

test("a terminal's own answers are told from what is typed", () => {
  for (const reply of ["\x1b[24;80R", "\x1b[?62;22c", "\x1b[0n", "\x1b]11;rgb:0d0d/1010/1717\x1b\\", "\x1bP1$r0m\x1b\\", "\x1b[?1;2c\x1b[5;1R"]) {
    expect(isTerminalReply(reply), JSON.stringify(reply)).toBe(true);
  }
  for (const typed of ["a", "\x1b", "\x1b[A", "\x1b[3~", "R", "\x1b[24;80Rx", "\x1b[M !!"]) {
    expect(isTerminalReply(typed), JSON.stringify(typed)).toBe(false);
  }
});
