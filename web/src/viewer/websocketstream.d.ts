/** Chromium's WebSocketStream, which TypeScript's DOM library does not describe yet. */
interface WebSocketStreamConnection {
  readable: ReadableStream<BufferSource | string>;
  writable: WritableStream<BufferSource | string>;
}

declare class WebSocketStream {
  constructor(url: string, options?: { protocols?: string[]; signal?: AbortSignal });
  readonly opened: Promise<WebSocketStreamConnection>;
  readonly closed: Promise<{ closeCode?: number; reason?: string }>;
  close(info?: { closeCode?: number; reason?: string }): void;
}
