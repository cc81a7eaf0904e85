// A stand-in for the control plane, for working on the console alone: it keeps its
// sessions in memory, runs a real Xvnc for VNC sessions and a real shell for
// terminals where the machine has them, and serves the built console too.
//
//   node mock/server.mjs            listens on 127.0.0.1:8099 (PORT)
//   POST /mock/signed-out {"on":true}   makes every request 401
//   POST /mock/state {"id","state","reason","reasonCode"}   moves a session
//   POST /mock/cut {"id"}               drops a session's streams
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { acceptWebSocket } from "./websocket.mjs";

const port = Number(process.env.PORT ?? 8099);
const dist = fileURLToPath(new URL("../../internal/console/dist/", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "streamspace-mock-"));
const sessions = new Map();
const tickets = new Map();
const listeners = new Set();
const runtimes = new Map();
let signedOut = false;
let display = 70;

const templates = [
  { name: "desktop", displayName: "Desktop", description: "A light desktop with a window manager, a terminal and a file manager.", icon: "desktop", protocol: "vnc", platforms: ["process"], resources: { cpu: "1", memory: "1Gi" }, available: true },
  { name: "browser", displayName: "Browser", description: "Chromium in a window of its own, away from your machine's browser.", icon: "browser", protocol: "vnc", platforms: ["process"], resources: { cpu: "2", memory: "2Gi" }, available: false, reason: "No online agent has everything that it needs.", missing: [{ command: "chromium", install: "apt-get install chromium" }] },
  { name: "terminal", displayName: "Terminal", description: "A login shell. It needs nothing but a shell and starts at once.", icon: "terminal", protocol: "terminal", platforms: ["process"], resources: { cpu: "500m", memory: "512Mi" }, available: true },
  { name: "editor", displayName: "Code editor", description: "Added by the platform team as a YAML file.", icon: "app", protocol: "vnc", platforms: ["process"], resources: {}, available: true },
];

class Refusal extends Error {
  constructor(status, code, detail, retryable = false) {
    super(detail);
    Object.assign(this, { status, code, retryable });
  }
}

function change(session, fields) {
  const now = new Date().toISOString();
  if (fields.state && fields.state !== session.state) session.stateSince = now;
  Object.assign(session, fields, { updatedAt: now });
  for (const listener of listeners) listener.write(`event: session\ndata: ${JSON.stringify(session)}\n\n`);
}

function launch({ id = randomBytes(8).toString("hex"), template: templateName, name }) {
  const existing = sessions.get(id);
  if (existing) return [200, existing];
  const template = templates.find((candidate) => candidate.name === templateName);
  if (!template) throw new Refusal(404, "template_unknown", `There is no template "${templateName}". List them with: streamspace templates list`);
  if (template.name === "editor") throw new Refusal(503, "no_suitable_agent", "No agent can take the session: the only connected agent, local, is full (8 of 8 sessions). Stop a session, or raise its --max-sessions.", true);
  const now = new Date().toISOString();
  const session = { id, name: name || template.displayName, user: "admin", template: template.name, protocol: template.protocol, state: "pending", desiredState: "running", generation: 1, retryable: false, agentId: "local", platform: "process", resources: template.resources, createdAt: now, updatedAt: now, stateSince: now };
  sessions.set(id, session);
  change(session, {});
  const delay = Number(process.env.START_MS ?? 700);
  if (template.protocol === "terminal") setTimeout(() => change(session, { state: "running" }), delay);
  else startScreen(session, delay);
  return [201, session];
}

function startScreen(session, delay) {
  const number = display++;
  const socket = join(work, `${session.id}.sock`);
  const server = spawn("Xvnc", [`:${number}`, "-SecurityTypes", "None", "-rfbport", "-1", "-rfbunixpath", socket, "-geometry", "1280x720", "-depth", "24", "-nolisten", "tcp", "-AlwaysShared"], { stdio: "ignore" });
  server.on("error", () => change(session, { state: "failed", reason: "Xvnc is not installed on agent local. Install: apt-get install tigervnc-standalone-server", reasonCode: "needs_missing" }));
  const env = { ...process.env, DISPLAY: `:${number}` };
  const apps = [];
  const timer = setInterval(() => {
    if (!existsSync(socket)) return;
    clearInterval(timer);
    for (const [command, ...args] of [["icewm"], ["xterm", "-geometry", "100x30+60+60"]]) {
      const app = spawn(command, args, { env, stdio: "ignore" });
      app.on("error", () => {});
      apps.push(app);
    }
    setTimeout(() => session.state === "pending" && change(session, { state: "running" }), delay);
  }, 50);
  runtimes.set(session.id, {
    open: () => connect(socket),
    stop: () => [...apps, server].forEach((process) => process.kill()),
  });
}

function stop(session) {
  if (["terminating", "terminated", "failed"].includes(session.state)) return;
  change(session, { state: "terminating", desiredState: "terminated", generation: session.generation + 1 });
  setTimeout(() => {
    runtimes.get(session.id)?.stop();
    change(session, { state: "terminated" });
    for (const open of streams.get(session.id) ?? []) open.close();
  }, 600);
}

const streams = new Map();

function stream(session, request, socket) {
  const open = new Set();
  let send;
  const input = session.protocol === "terminal" ? terminal(session, (bytes) => send(bytes)) : screen(session, (bytes) => send(bytes), () => view.close());
  const view = acceptWebSocket(request, socket, {
    onData: input.data,
    onClose() {
      streams.get(session.id)?.delete(view);
      input.close();
    },
  });
  send = view.send;
  input.start?.();
  if (!streams.has(session.id)) streams.set(session.id, open);
  streams.get(session.id).add(view);
}

function screen(session, send, over) {
  const upstream = runtimes.get(session.id).open();
  upstream.on("data", send);
  upstream.on("error", over);
  upstream.on("close", over);
  return { data: (bytes) => upstream.write(bytes), close: () => upstream.destroy() };
}

// One shell a session, with a replay for those who come later. script(1) makes the pseudo terminal.
function terminal(session, send) {
  let runtime = runtimes.get(session.id);
  if (!runtime) {
    const shell = spawn("script", ["-qfc", "bash --norc -i", "/dev/null"], { env: { ...process.env, TERM: "xterm-256color", PS1: "\\[\\e[32m\\]session\\[\\e[0m\\]:\\[\\e[34m\\]\\w\\[\\e[0m\\]$ " }, cwd: work });
    runtime = { replay: Buffer.alloc(0), viewers: new Set(), shell, stop: () => shell.kill() };
    shell.stdout.on("data", (bytes) => {
      runtime.replay = Buffer.concat([runtime.replay, bytes]).subarray(-256 * 1024);
      for (const viewer of runtime.viewers) viewer(bytes);
    });
    shell.on("close", () => {
      change(session, { state: "terminated", reason: "The shell exited.", reasonCode: "runtime_exited" });
      for (const open of streams.get(session.id) ?? []) open.close();
    });
    runtimes.set(session.id, runtime);
  }
  let buffer = Buffer.alloc(0);
  const viewer = (bytes) => send(bytes);
  return {
    start() {
      if (runtime.replay.length > 0) send(runtime.replay);
      runtime.viewers.add(viewer);
    },
    data(bytes) {
      buffer = Buffer.concat([buffer, bytes]);
      for (;;) {
        if (buffer[0] === 0 && buffer.length >= 5 && buffer.length >= 5 + buffer.readUInt32BE(1)) {
          const length = buffer.readUInt32BE(1);
          runtime.shell.stdin.write(buffer.subarray(5, 5 + length));
          buffer = buffer.subarray(5 + length);
        } else if (buffer[0] === 1 && buffer.length >= 5) {
          console.log(`resize ${buffer.readUInt16BE(1)}x${buffer.readUInt16BE(3)}`);
          buffer = buffer.subarray(5);
        } else return;
      }
    },
    close: () => runtime.viewers.delete(viewer),
  };
}

function find(id) {
  const session = sessions.get(id);
  if (!session) throw new Refusal(404, "session_unknown", `There is no session "${id}".`);
  return session;
}

const newest = () => [...sessions.values()].reverse();

function api(method, path, body, response) {
  if (signedOut) throw new Refusal(401, "unauthenticated", "Sign in first.");
  const [, collection, id, action] = path.split("/");
  switch (`${method} ${collection}${id ? "/:id" : ""}${action ? `/${action}` : ""}`) {
    case "GET me":
      return [200, { id: "u1", name: "admin", role: "admin" }];
    case "GET templates":
      return [200, { items: templates }];
    case "GET agents":
      return [200, { items: [{ id: "local", platform: "process", status: "online", connected: true, sessions: newest().filter((s) => s.state === "running").length }, { id: "build-host", platform: "process", region: "eu", status: "offline", connected: false, sessions: 0 }] }];
    case "GET sessions":
      return [200, { items: newest() }];
    case "POST sessions":
      return launch(body);
    case "GET sessions/:id":
      return [200, find(id)];
    case "DELETE sessions/:id":
      stop(find(id));
      return [202, find(id)];
    case "POST sessions/:id/tickets": {
      if (find(id).state !== "running") throw new Refusal(409, "session_not_running", "The session is not running.");
      const ticket = randomBytes(16).toString("hex");
      tickets.set(ticket, id);
      return [201, { ticket, expiresAt: new Date(Date.now() + 60_000).toISOString() }];
    }
    case "GET events":
      response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
      response.write(`event: snapshot\ndata: ${JSON.stringify({ sessions: newest().filter((s) => !["terminated", "failed"].includes(s.state)) })}\n\n`);
      listeners.add(response);
      response.on("close", () => listeners.delete(response));
      return undefined;
    default:
      throw new Refusal(404, "not_found", "There is no such address.");
  }
}

function mock(path, body) {
  if (path === "/mock/signed-out") signedOut = body.on;
  if (path === "/mock/state") change(find(body.id), { state: body.state, reason: body.reason, reasonCode: body.reasonCode });
  if (path === "/mock/cut") for (const open of streams.get(body.id) ?? []) open.socket.destroy();
  return [200, {}];
}

const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

function page(path, response) {
  const name = path === "/" || path.startsWith("/sessions/") ? "index.html" : normalize(path).slice(1);
  const file = join(dist, name);
  if (!file.startsWith(dist) || !existsSync(file)) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { "Content-Type": types[extname(file)] ?? "application/octet-stream", "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff" });
  response.end(readFileSync(file));
}

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, "http://mock");
  if (!pathname.startsWith("/api/v1/") && !pathname.startsWith("/mock/")) return page(pathname, response);
  let text = "";
  for await (const chunk of request) text += chunk;
  try {
    const body = text ? JSON.parse(text) : {};
    const answer = pathname.startsWith("/mock/") ? mock(pathname, body) : api(request.method, pathname.slice("/api/v1".length), body, response);
    if (!answer) return;
    response.writeHead(answer[0], { "Content-Type": "application/json" }).end(JSON.stringify(answer[1]));
  } catch (error) {
    const { status = 500, code = "internal", retryable = false } = error;
    response.writeHead(status, { "Content-Type": "application/problem+json" });
    response.end(JSON.stringify({ type: "about:blank", title: "Refused", status, detail: error.message, code, retryable }));
  }
});

server.on("upgrade", (request, socket) => {
  const { pathname, searchParams } = new URL(request.url, "http://mock");
  const id = /^\/api\/v1\/sessions\/([^/]+)\/stream$/.exec(pathname)?.[1];
  const ticket = searchParams.get("ticket");
  if (!id || tickets.get(ticket) !== id) {
    socket.end("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n");
    return;
  }
  tickets.delete(ticket);
  stream(sessions.get(id), request, socket);
});

setInterval(() => {
  for (const listener of listeners) listener.write(": ping\n\n");
}, 15_000).unref();

process.on("SIGINT", () => {
  for (const runtime of runtimes.values()) runtime.stop();
  process.exit();
});
process.on("SIGTERM", () => process.emit("SIGINT"));

server.listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${port}`));
