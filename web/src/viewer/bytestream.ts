export interface ByteStreamHandlers {
  onOpen(): void;
  /**
   * Takes bytes in. While the promise it returned is pending no more are read,
   * where the browser can hold a WebSocket back.
   */
  onData(bytes: Uint8Array): Promise<void>;
  /** Hears once that the stream is over, with a reason fit for people if there is one. */
  onClose(message: string | undefined): void;
}

export interface ByteStream {
  send(bytes: Uint8Array<ArrayBuffer>): void;
  close(): void;
}

/** The most bytes that wait for the page where the browser cannot hold a WebSocket back. */
export const backlogLimit = 16 * 1024 * 1024;

/**
 * Opens a WebSocket of raw bytes. Chromium's WebSocketStream lets a slow page slow
 * the session down; with a plain WebSocket, a page that falls too far behind ends
 * the stream, since the replay of a new one is shorter than the backlog.
 */
export function openByteStream(address: string, handlers: ByteStreamHandlers): ByteStream {
  if (typeof WebSocketStream === "function") return openStream(new WebSocketStream(address, { protocols: ["binary"] }), handlers);
  return openSocket(new WebSocket(address, ["binary"]), handlers);
}

function openStream(socket: WebSocketStream, handlers: ByteStreamHandlers): ByteStream {
  let writer: WritableStreamDefaultWriter<BufferSource | string> | undefined;
  const run = async (): Promise<void> => {
    const { readable, writable } = await socket.opened;
    writer = writable.getWriter();
    handlers.onOpen();
    const reader = readable.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      await handlers.onData(bytesOf(value));
    }
  };
  const over = (): void => {
    writer = undefined;
    handlers.onClose(undefined);
  };
  run().then(over, over);
  socket.closed.catch(() => undefined);
  return {
    send(bytes) {
      writer?.write(bytes).catch(() => undefined);
    },
    close: () => socket.close(),
  };
}

function openSocket(socket: WebSocket, handlers: ByteStreamHandlers): ByteStream {
  socket.binaryType = "arraybuffer";
  let waiting = 0;
  let message: string | undefined;
  socket.addEventListener("open", () => handlers.onOpen());
  socket.addEventListener("message", (event: MessageEvent<ArrayBuffer | string>) => {
    const bytes = bytesOf(event.data);
    waiting += bytes.length;
    if (waiting > backlogLimit) {
      message = "The session sent more than this browser could show.";
      socket.close();
      return;
    }
    void handlers.onData(bytes).then(() => {
      waiting -= bytes.length;
    });
  });
  socket.addEventListener("close", () => handlers.onClose(message));
  return {
    send(bytes) {
      if (socket.readyState === WebSocket.OPEN) socket.send(bytes);
    },
    close: () => socket.close(),
  };
}

function bytesOf(data: BufferSource | string): Uint8Array {
  if (typeof data === "string") return new TextEncoder().encode(data);
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
