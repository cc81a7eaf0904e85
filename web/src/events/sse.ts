/** One server-sent event. */
export interface ServerEvent {
  /** Its name; "message" when it has none. */
  event: string;
  data: string;
}

/**
 * Cuts a text/event-stream into events. Pieces may end anywhere. Comments and the
 * fields id and retry are ignored: this console starts from a snapshot each time
 * and has a backoff of its own.
 */
export class EventParser {
  private rest = "";
  private event = "";
  private data: string[] = [];

  push(piece: string): ServerEvent[] {
    const events: ServerEvent[] = [];
    const text = this.rest + piece;
    // A carriage return at the very end may be half of a CRLF: keep it for the next piece.
    const usable = text.endsWith("\r") ? text.length - 1 : text.length;
    const lines = text.slice(0, usable).split(/\r\n|\n|\r/);
    this.rest = (lines.pop() ?? "") + text.slice(usable);
    for (const line of lines) {
      const event = this.line(line);
      if (event) events.push(event);
    }
    return events;
  }

  private line(line: string): ServerEvent | undefined {
    if (line === "") {
      const complete = this.data.length > 0 ? { event: this.event || "message", data: this.data.join("\n") } : undefined;
      this.event = "";
      this.data = [];
      return complete;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const raw = colon < 0 ? "" : line.slice(colon + 1);
    const value = raw.startsWith(" ") ? raw.slice(1) : raw;
    if (field === "event") this.event = value;
    if (field === "data") this.data.push(value);
    return undefined;
  }
}
