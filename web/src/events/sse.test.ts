import { expect, test } from "vitest";
import { EventParser, type ServerEvent } from "./sse";

const stream =
  ": a comment\nevent: snapshot\ndata: {\"sessions\":\r\ndata: []}\r\n\r\n" +
  "data:no space\n\nevent: dropped without data\n\nid: 7\nretry: 1\nevent: session\rdata: ä€\r\r";

const events: ServerEvent[] = [
  { event: "snapshot", data: "{\"sessions\":\n[]}" },
  { event: "message", data: "no space" },
  { event: "session", data: "ä€" },
];

function parse(pieces: string[]): ServerEvent[] {
  const parser = new EventParser();
  return pieces.flatMap((piece) => parser.push(piece));
}

test("a stream is the same events wherever its pieces end", () => {
  // The last carriage return may be half of a CRLF, so one more byte completes it.
  const whole = stream + "\n";
  expect(parse([whole])).toEqual(events);
  expect(parse([...whole])).toEqual(events);
  for (let cut = 0; cut <= whole.length; cut++) {
    expect(parse([whole.slice(0, cut), whole.slice(cut)])).toEqual(events);
  }
});

test("an event that is not complete is not told", () => {
  expect(parse(["event: session\ndata: x\n"])).toEqual([]);
});
