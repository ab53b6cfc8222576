// A stand-in for `warren serve`, for development and for the test in the browser: the same routes and shapes, a synthetic
// network behind them. Usage: node mock/server.mjs [--port 4180] [--size 10|100|500] [--seed N] [--limit EDGES] [--no-hostile] [--empty]
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import {
  Problem,
  alarmsOf,
  auditOf,
  canOf,
  command,
  edgesOf,
  find,
  flowList,
  historyOf,
  keysOf,
  mapOf,
  matches,
  nameOf,
  nodeRow,
  pathsOf,
  reviewOf,
  statusOf,
  textAt,
  tokensOf,
  usageOf,
  whyOf,
} from "./answers.mjs";
import { flowsOf, keyOf, makeWorld, quiet, sums } from "./world.mjs";

export const KEY = "wrn_mockmockmock_" + "k".repeat(43);
export const LINK = "mock-link";
const DIST = fileURLToPath(new URL("../dist", import.meta.url));
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};
let frozen = null;
const clock = () => frozen ?? Math.floor(Date.now() / 1000);

/** One mock server; several may live in one process. */
export function serve({
  port = 4180,
  size = 10,
  seed = 7,
  hostile = true,
  empty = false,
  late = [12, 25],
  limit = 100_000,
  host = "127.0.0.1",
} = {}) {
  const started = clock();
  const world = makeWorld({ size, seed, now: started, hostile, late });
  if (empty)
    Object.assign(world, { nodes: [], services: [], edges: [], grants: [], text: null, generation: 0, revision: 1 });
  const mock = {
    world,
    started,
    sessions: new Map(),
    streams: new Set(),
    links: new Set([LINK]),
    keys: keysOf(started),
    tokens: empty ? [] : tokensOf(world, started),
    down: false,
    limit,
  };
  const server = createServer((request, response) => {
    answer(mock, request, response).catch((error) => {
      const body =
        error instanceof Problem
          ? error.body
          : { type: "/problems/internal", title: "Internal error", status: 500, detail: String(error?.stack ?? error) };
      if (!response.headersSent) response.writeHead(body.status, { "content-type": "application/problem+json" });
      response.end(JSON.stringify(body));
    });
  });
  const timer = setInterval(() => tick(mock), 1000);
  server.on("close", () => clearInterval(timer));
  return new Promise((resolve, reject) => {
    server.on("error", reject);
    server.listen(port, host, () =>
      resolve({
        server,
        mock,
        url: `http://${host}:${server.address().port}`,
        close: () => (server.closeAllConnections(), server.close()),
      }),
    );
  });
}

async function answer(mock, request, response) {
  const url = new URL(request.url, "http://mock");
  const path = url.pathname;
  response.setHeader("cache-control", "no-store");
  response.setHeader("x-content-type-options", "nosniff");
  if (path.startsWith("/mock/")) return control(mock, path.slice(6), response);
  if (mock.down) return response.destroy();
  if (!path.startsWith("/v1/")) return page(path, response);
  const body = request.method === "GET" ? null : await read(request);
  if (path === "/v1/session" && request.method === "POST") return signIn(mock, body, response);
  const session = identify(mock, request);
  if (!session)
    throw new Problem(
      401,
      "unauthenticated",
      "this needs an API key or a session",
      "sign in with a key, or open the link that `warren ui` prints",
    );
  if (request.method !== "GET" && session.cookie && request.headers["warren-csrf"] !== session.csrf)
    throw new Problem(403, "forbidden", "the request lacks the token of this session");
  if (path === "/v1/events") return events(mock, url, response);
  const query = Object.fromEntries(url.searchParams);
  const reply = route(mock, session, request.method, path, query, body);
  if (reply === null) {
    if (path === "/v1/session") response.setHeader("set-cookie", "warren_session=; Path=/; Max-Age=0");
    response.writeHead(204);
    return response.end();
  }
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify(reply));
}

async function read(request) {
  let text = "";
  for await (const chunk of request) text += chunk;
  return text ? JSON.parse(text) : null;
}

async function page(path, response) {
  response.setHeader("content-security-policy", CSP);
  const file = normalize(path).replace(/^\/+/, "");
  for (const name of [file, "index.html"]) {
    const type = TYPES[extname(name)];
    if (!type) continue;
    try {
      const bytes = await readFile(join(DIST, name));
      response.writeHead(200, { "content-type": type });
      return response.end(bytes);
    } catch {}
  }
  throw new Problem(404, "not-found", "dist is not built: npm run build");
}

// --- sign-in

function identify(mock, request) {
  const bearer = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1];
  if (bearer) return bearer === KEY ? { name: "mock", scope: "admin", cookie: false } : null;
  const cookie = /(?:^|; )warren_session=([^;]+)/.exec(request.headers.cookie ?? "")?.[1];
  return cookie ? (mock.sessions.get(cookie) ?? null) : null;
}

function signIn(mock, body, response) {
  const byLink = body?.link && mock.links.has(body.link);
  if (!byLink && body?.key !== KEY)
    throw new Problem(
      401,
      "unauthenticated",
      body?.link ? "this link was used or has expired" : "this is no key of this network",
      body?.link ? "run `warren ui` again" : "make one with `warren key create NAME`",
    );
  const id = Math.random().toString(36).slice(2);
  const session = {
    name: "key:ada-laptop",
    scope: "admin",
    ends: clock() + 12 * 3600,
    csrf: `csrf-${id}`,
    cookie: true,
    id,
  };
  mock.sessions.set(id, session);
  response.setHeader("set-cookie", `warren_session=${id}; Path=/; HttpOnly; SameSite=Strict`);
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify(shown(session)));
}

const shown = ({ name, scope, ends, csrf }) => ({ name, scope, ends, csrf });

// --- routes

function route(mock, session, method, path, q, body) {
  const { world } = mock;
  const parts = path.split("/").slice(2).map(decodeURIComponent);
  const now = clock();
  switch (
    `${method} ${parts[0]}${parts[1] ? "/" + (["nodes", "keys"].includes(parts[0]) ? "*" : parts.slice(1).join("/")) : ""}`
  ) {
    case "GET session":
      return shown(session);
    case "DELETE session":
      return (mock.sessions.delete(session.id), null);
    case "GET status":
      return statusOf(mock, now);
    case "GET network":
      return {
        network: world.network,
        name: nameOf(world),
        authorities: [],
        coordinator: "",
        advertise: ["192.0.2.1:7443"],
        listen: "0.0.0.0:7443",
        v4_range: "100.64.0.0/10",
        v6_prefix: "fd7a:115c:a1e0::/48",
        freshness: 604800,
      };
    case "GET tokens":
      return mock.tokens;
    case "POST commands":
      return command(mock, body);
    case "GET keys":
      return mock.keys;
    case "POST keys": {
      const row = {
        id: Math.random().toString(36).slice(2, 14).padEnd(12, "0"),
        name: body.name,
        scope: body.scope,
        created: now,
        ends: body.ends ?? null,
        revoked: null,
        last_used: null,
      };
      mock.keys.push(row);
      return { key: `wrn_${row.id}_${"s".repeat(43)}`, row };
    }
    case "POST keys/*": {
      const row = mock.keys.find((k) => k.id === parts[1]);
      if (!row) throw new Problem(404, "not-found", `there is no key \`${parts[1]}\``);
      return ((row.revoked = now), row);
    }
    case "GET nodes":
      return world.nodes.filter((n) => q.revoked === "true" || !n.revoked).map((n) => nodeRow(world, n, mock.started));
    case "GET nodes/*": {
      const node = find(world, parts[1]);
      if (!node) throw new Problem(404, "node-unknown", `there is no node \`${parts[1]}\``);
      return nodeRow(world, node, mock.started);
    }
    case "GET map":
      return mapOf(mock, q, now);
    case "GET edges":
      return edgesOf(mock, q, now);
    case "GET paths":
      return pathsOf(world, q, mock.started);
    case "GET alarms":
      return alarmsOf(mock);
    case "GET policy": {
      if (!world.text)
        throw new Problem(
          404,
          "not-found",
          "no policy was ever applied: everything is denied",
          "apply one with `warren policy apply FILE`",
        );
      const generation = Number(q.generation ?? world.generation);
      return {
        generation,
        root: "ab".repeat(32),
        head: "",
        sources: [{ file: "policy.toml", text: textAt(world, generation) }],
      };
    }
    case "GET policy/history":
      return historyOf(world, mock.started);
    case "GET policy/usage":
      return usageOf(mock, Number(q.within ?? 2592000), now);
    case "GET policy/diff": {
      const to = Number(q.to ?? world.generation);
      const { diff } = reviewOf(world, { sources: [{ text: to === world.generation ? "" : world.text }] });
      return { from: Number(q.from ?? to - 1), to, diff: { ...diff, gained: diff.lost, lost: diff.gained } };
    }
    case "POST policy/review":
      return reviewOf(world, body);
    case "GET can":
      return canOf(world, q);
    case "GET ever": {
      const { passes } = canOf(world, q);
      return { yes: passes.length > 0, proof: !passes.length, witness: null, generation: world.generation };
    }
    case "GET why":
      return whyOf(world, q);
    case "GET flows":
    case "GET flows/history":
      return flowList(mock, q, now);
    case "GET audit":
      return auditOf(mock, q);
    case "GET audit/verify":
      return { revision: world.revision, hash: "3f".repeat(32), at: now };
    default:
      throw new Problem(404, "not-found", `there is no route ${method} ${path}`);
  }
}

// --- events

function events(mock, url, response) {
  response.writeHead(200, { "content-type": "text/event-stream", "x-accel-buffering": "no" });
  response.write(": warren\n\n");
  const q = Object.fromEntries(url.searchParams);
  const stream = { response, flows: q.flows === "true", fits: matches(q) };
  mock.streams.add(stream);
  response.on("close", () => mock.streams.delete(stream));
  send(stream, "status", statusOf(mock, clock()));
}

let serial = 0;
const send = (stream, event, data) =>
  stream.response.write(`id: m${++serial}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`);

function tick(mock) {
  if (frozen !== null) return;
  const second = clock() - 1;
  const edges = mock.world.edges
    .map((e) => ({
      ...keyOf(e),
      ...sums(e, second, second + 1),
      rtt_us: e.rtt === null ? null : Math.round(e.rtt),
      last_seen: second * 1000 + 999,
      seen_by: e.from.node ? ["from", "to"] : ["to"],
    }))
    .filter((e) => !quiet(e));
  const rows = [...mock.streams].some((s) => s.flows) ? flowsOf(mock.world, second) : [];
  for (const stream of mock.streams) {
    if (edges.length) send(stream, "edges", { at: second, edges });
    if (second % 10 === 0) send(stream, "status", statusOf(mock, clock()));
    // Each node speaks for itself: what its peer says is put beside it only when one asks.
    const fitting = (stream.flows ? rows.filter(stream.fits) : []).map((r) => ({ ...r, other: null }));
    if (fitting.length) send(stream, "flows", { rows: fitting, skipped: 0 });
  }
}

/** What a test does to the mock: POST or GET /mock/WORD. */
function control(mock, word, response) {
  if (word === "resync") for (const s of mock.streams) send(s, "resync", { why: "asked by a test" });
  if (word === "down") {
    mock.down = true;
    for (const s of mock.streams) s.response.destroy();
  }
  if (word === "up") mock.down = false;
  if (word === "news") for (const e of mock.world.edges) if (e.isNews) e.begin = clock() + 1;
  if (word === "freeze") frozen = clock();
  if (word === "thaw") frozen = null;
  response.writeHead(204);
  response.end();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const flag = (name, otherwise) => {
    const i = process.argv.indexOf(`--${name}`);
    return i < 0 ? otherwise : process.argv[i + 1];
  };
  const { url } = await serve({
    port: Number(flag("port", 4180)),
    size: Number(flag("size", 10)),
    seed: Number(flag("seed", 7)),
    limit: Number(flag("limit", 100_000)),
    hostile: !process.argv.includes("--no-hostile"),
    empty: process.argv.includes("--empty"),
  });
  console.log(`mock coordinator: ${url}/#link=${LINK}`);
  console.log(`key: ${KEY}`);
}
