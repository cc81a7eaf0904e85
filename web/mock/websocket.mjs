// The server's side of a WebSocket (RFC 6455), just enough for the mock.
import { createHash } from "node:crypto";

/** Answers the upgrade and returns send(bytes), close() and the events data and close by callback. */
export function acceptWebSocket(request, socket, { onData, onClose }) {
  const key = request.headers["sec-websocket-key"];
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  const protocol = request.headers["sec-websocket-protocol"] ? "Sec-WebSocket-Protocol: binary\r\n" : "";
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n${protocol}\r\n`,
  );
  let buffer = Buffer.alloc(0);
  const frame = (opcode, bytes) => {
    const head = Buffer.alloc(bytes.length < 126 ? 2 : bytes.length < 65536 ? 4 : 10);
    head[0] = 0x80 | opcode;
    if (bytes.length < 126) head[1] = bytes.length;
    else if (bytes.length < 65536) {
      head[1] = 126;
      head.writeUInt16BE(bytes.length, 2);
    } else {
      head[1] = 127;
      head.writeBigUInt64BE(BigInt(bytes.length), 2);
    }
    return socket.write(Buffer.concat([head, bytes]));
  };
  const take = () => {
    if (buffer.length < 2) return false;
    let length = buffer[1] & 0x7f;
    let at = 2;
    if (length === 126) {
      if (buffer.length < 4) return false;
      length = buffer.readUInt16BE(2);
      at = 4;
    } else if (length === 127) {
      if (buffer.length < 10) return false;
      length = Number(buffer.readBigUInt64BE(2));
      at = 10;
    }
    if (buffer.length < at + 4 + length) return false;
    const mask = buffer.subarray(at, at + 4);
    const bytes = Buffer.from(buffer.subarray(at + 4, at + 4 + length));
    for (let i = 0; i < bytes.length; i++) bytes[i] ^= mask[i & 3];
    const opcode = buffer[0] & 0x0f;
    buffer = buffer.subarray(at + 4 + length);
    if (opcode === 8) {
      frame(8, bytes.subarray(0, 2));
      socket.end();
    } else if (opcode === 9) frame(10, bytes);
    else if (opcode <= 2) onData(bytes);
    return true;
  };
  socket.on("data", (chunk) => {
    buffer = Buffer.concat([buffer, chunk]);
    while (take());
  });
  socket.on("error", () => socket.destroy());
  socket.on("close", onClose);
  return { send: (bytes) => frame(2, bytes), close: () => socket.end(), socket };
}
