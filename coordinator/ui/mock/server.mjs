// A stand-in for `warren serve`, for development and for the test in the browser: the same routes and shapes, a synthetic
// network behind them. Usage: node mock/server.mjs [--port 4180] [--size 10|100|500] [--seed N] [--no-hostile] [--empty]
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { edgeIn, flowsOf, keyOf, makeWorld, quiet, sums } from "./world.mjs";

export const KEY = "wrn_mockmockmock_" + "k".repeat(43);
export const LINK = "mock-link";
const DIST = fileURLToPath(new URL("../dist", import.meta.url));
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml" };
let frozen = null;
const clock = () => frozen ?? Math.floor(Date.now() / 1000);

class Problem extends Error {
  constructor(status, word, detail, hint) {
    super(detail);
    this.status = status;
    this.body = { type: `/problems/${word}`, title: word.replaceAll("-", " "), status, detail, ...(hint ? { hint } : {}) };
  }
}

/** One mock server; several may live in one process. */
export function serve({ port = 4180, size = 10, seed = 7, hostile = true, empty = false, late = [12, 25], host = "127.0.0.1" } = {}) {
  const started = clock();
  const world = makeWorld({ size, seed, now: started, hostile, late });
  if (empty) Object.assign(world, { nodes: [], services: [], edges: [], grants: [], text: null, generation: 0, revision: 1 });
  const mock = { world, started, sessions: new Map(), streams: new Set(), links: new Set([LINK]), keys: keysOf(started), tokens: empty ? [] : tokensOf(world, started), down: false };
  const server = createServer((request, response) => {
    answer(mock, request, response).catch((error) => {
      const body = error instanceof Problem ? error.body : { type: "/problems/internal", title: "Internal error", status: 500, detail: String(error?.stack ?? error) };
      if (!response.headersSent) response.writeHead(body.status, { "content-type": "application/problem+json" });
      response.end(JSON.stringify(body));
    });
  });
  const timer = setInterval(() => tick(mock), 1000);
  server.on("close", () => clearInterval(timer));
  return new Promise((resolve, reject) => {
    server.on("error", reject);
    server.listen(port, host, () => resolve({ server, mock, url: `http://${host}:${server.address().port}`, close: () => (server.closeAllConnections(), server.close()) }));
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
  if (!session) throw new Problem(401, "unauthenticated", "this needs an API key or a session", "sign in with a key, or open the link that `warren ui` prints");
  if (request.method !== "GET" && session.cookie && request.headers["warren-csrf"] !== session.csrf) throw new Problem(403, "forbidden", "the request lacks the token of this session");
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
  if (!byLink && body?.key !== KEY) throw new Problem(401, "unauthenticated", body?.link ? "this link was used or has expired" : "this is no key of this network", body?.link ? "run `warren ui` again" : "make one with `warren key create NAME`");
  const id = Math.random().toString(36).slice(2);
  const session = { name: "key:ada-laptop", scope: "admin", ends: clock() + 12 * 3600, csrf: `csrf-${id}`, cookie: true, id };
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
  switch (`${method} ${parts[0]}${parts[1] ? "/" + (["nodes", "keys"].includes(parts[0]) ? "*" : parts.slice(1).join("/")) : ""}`) {
    case "GET session": return shown(session);
    case "DELETE session": return mock.sessions.delete(session.id), null;
    case "GET status": return statusOf(mock, now);
    case "GET network": return { network: world.network, name: nameOf(world), authorities: [], coordinator: "", advertise: ["192.0.2.1:7443"], listen: "0.0.0.0:7443", v4_range: "100.64.0.0/10", v6_prefix: "fd7a:115c:a1e0::/48", freshness: 604800 };
    case "GET tokens": return mock.tokens;
    case "POST commands": return command(mock, body);
    case "GET keys": return mock.keys;
    case "POST keys": {
      const row = { id: Math.random().toString(36).slice(2, 14).padEnd(12, "0"), name: body.name, scope: body.scope, created: now, ends: body.ends ?? null, revoked: null, last_used: null };
      mock.keys.push(row);
      return { key: `wrn_${row.id}_${"s".repeat(43)}`, row };
    }
    case "POST keys/*": {
      const row = mock.keys.find((k) => k.id === parts[1]);
      if (!row) throw new Problem(404, "not-found", `there is no key \`${parts[1]}\``);
      return (row.revoked = now), row;
    }
    case "GET nodes": return world.nodes.filter((n) => q.revoked === "true" || !n.revoked).map((n) => nodeRow(world, n, mock.started));
    case "GET nodes/*": {
      const node = find(world, parts[1]);
      if (!node) throw new Problem(404, "node-unknown", `there is no node \`${parts[1]}\``);
      return nodeRow(world, node, mock.started);
    }
    case "GET map": return mapOf(mock, q, now);
    case "GET edges": return edgesOf(mock, q, now);
    case "GET alarms": return alarmsOf(mock);
    case "GET policy": {
      if (!world.text) throw new Problem(404, "not-found", "no policy was ever applied: everything is denied", "apply one with `warren policy apply FILE`");
      const generation = Number(q.generation ?? world.generation);
      return { generation, root: "ab".repeat(32), head: "", sources: [{ file: "policy.toml", text: textAt(world, generation) }] };
    }
    case "GET policy/history": return historyOf(world, mock.started);
    case "GET policy/usage": return usageOf(mock, Number(q.within ?? 2592000), now);
    case "POST policy/review": return reviewOf(world, body);
    case "GET can": return canOf(world, q);
    case "GET ever": {
      const { passes } = canOf(world, q);
      return { yes: passes.length > 0, proof: !passes.length, witness: null, generation: world.generation };
    }
    case "GET why": return whyOf(world, q);
    case "GET flows":
    case "GET flows/history": return flowList(mock, q, now);
    case "GET audit": return auditOf(mock, q);
    case "GET audit/verify": return { revision: world.revision, hash: "3f".repeat(32), at: now };
    default: throw new Problem(404, "not-found", `there is no route ${method} ${path}`);
  }
}

const nameOf = (world) => (world.size <= 10 ? "prod" : world.size <= 100 ? "prod-eu" : "prod-world");
const find = (world, who) => world.nodes.find((n) => n.id === who || n.name === who || n.v4 === who || n.v6 === who);

function statusOf(mock, now) {
  const { world } = mock;
  const live = world.nodes.filter((n) => !n.revoked);
  const behind = live.filter((n) => n.behind || !n.online);
  const rows = behind.map((n) => ({ node: n.id, name: n.name, online: n.online, enforces: n.online ? world.generation - 1 : null, since: mock.started - (n.online ? 95 : 1500) }));
  const enforced = live.length - behind.length;
  return {
    network: world.network, name: nameOf(world), epoch: 1, revision: world.revision, generation: world.generation, observe: false,
    nodes: live.length, online: live.filter((n) => n.online).length, freshness: { life: 604800, signed_at: now - 1200, not_after: now + 603600, next: now + 2400 },
    enforcement: { generation: world.generation, enforced, of: live.length, by_generation: { [world.generation]: enforced, [world.generation - 1]: behind.length }, behind: rows, summary: `gen ${world.generation} enforced on ${enforced}/${live.length}` },
    flows: { recorded: 48_000_000 + (now - mock.started) * 211, declared_lost: 0, rejected: 0, kept: 200000 }, alarms: alarmsOf(mock), now, version: "0.4.0", history_skipped: 0,
  };
}

function nodeRow(world, n, now) {
  const { id, name, tags, identity, v4, v6, wireguard, enrolled, token, key_serial, amendment_serial, revoked, online, since, endpoints } = n;
  const generation = world.generation - (n.behind ? 1 : 0);
  const progress = { revision: world.revision - (n.behind ? 3 : 0), generation, at: now - 400 };
  const peers = new Set(world.edges.filter((e) => e.verdict === "allow" && (e.from.node === id || e.to.node === id)).map((e) => (e.from.node === id ? e.to.node : e.from.node)));
  return {
    id, name, tags, identity, v4, v6, wireguard, enrolled, token, key_serial, amendment_serial, revoked, online, since, seen_at: online ? n.seen_at : null, endpoints, agent: online ? n.agent : null,
    sent: online ? { ...progress, revision: world.revision, generation: world.generation } : null, enforced: online ? progress : null, offers: world.services.filter((s) => s.nodes.includes(id)).map((s) => s.name), peers: peers.size,
  };
}

function windowOf(q, now) {
  const live = q.at === undefined;
  const at = live ? now : Number(q.at);
  const window = Number(q.window ?? 300);
  if (!Number.isInteger(at) || !(window >= 1) || window > 31 * 86400) throw new Problem(400, "bad-request", `\`at=${q.at}\`, \`window=${q.window}\` is no time`, "at: seconds since 1970; window: 1 to 2678400 seconds");
  const resolution = window <= 3600 ? 1 : window <= 86400 ? 60 : 3600;
  return { live, at: live ? at : Math.floor(at / resolution) * resolution, window, resolution };
}

function mapOf(mock, q, now) {
  const { world } = mock;
  const { live, at, window, resolution } = windowOf(q, now);
  return {
    at, from: at - window, resolution, live, revision: world.revision, generation: world.generation, observe: false, complete_until: Math.min(at, now - 2), lost: { declared: 0, rejected: 0, skipped: 0 },
    nodes: world.nodes.map((n) => (live ? mapNode(world, n, mock.started) : { ...mapNode(world, n, mock.started), online: null, enforces: null, behind_since: null })),
    services: world.services.map(({ name, ports, nodes }) => ({ name, ports, nodes })),
    edges: world.edges.map((e) => edgeIn(e, at - window, at)).filter(Boolean),
  };
}

function mapNode(world, n, started) {
  return { id: n.id, name: n.name, tags: n.tags, site: n.site, addresses: [n.v4, n.v6], online: n.online, enforces: n.online ? world.generation - (n.behind ? 1 : 0) : null, behind_since: n.behind ? started - 95 : n.online ? null : started - 1500, revoked: n.revoked };
}

const matches = (q) => {
  const is = (wanted, end) => !wanted || end.name === wanted.replace(/^node:/, "") || end.node === wanted || end.address === wanted;
  return (e) => is(q.from, e.from) && is(q.to, e.to) && (!q.service || e.service === q.service) && (!q.verdict || e.verdict === q.verdict) && (!q.grant || e.grant === q.grant);
};

function edgesOf(mock, q, now) {
  const until = Number(q.until ?? now);
  const since = Number(q.since ?? until - 300);
  const resolution = Number(q.resolution ?? (until - since <= 600 ? 1 : until - since <= 86400 ? 60 : 3600));
  const rows = [];
  for (const e of mock.world.edges.filter(matches(q))) {
    for (let at = Math.floor(since / resolution) * resolution; at < until && rows.length < 20000; at += resolution) {
      const edge = edgeIn(e, at, at + resolution);
      if (edge) rows.push({ at, edge });
    }
  }
  return { resolution, rows, next: null };
}

function flowList(mock, q, now) {
  const limit = Math.min(Number(q.limit || 1000), 10000);
  const since = Math.max(Number(q.since ?? now - 300), now - 3600);
  const rows = [];
  const fits = matches(q);
  for (let t = now - 1; t >= since && rows.length < limit; t--) rows.push(...flowsOf(mock.world, t).filter(fits));
  return rows.sort((a, b) => b.last_ms - a.last_ms || b.cursor - a.cursor).slice(0, limit);
}

function alarmsOf(mock) {
  const { world } = mock;
  if (!world.nodes.length) return [];
  return [
    { kind: "node-complaint", subject: world.behind.name, message: `${world.behind.name} does not enforce generation ${world.generation}: it says that the policy's proof does not reach its root`, since: mock.started - 95, last: mock.started - 5, count: 3 },
    { kind: "token-reused", subject: "tok-7Qm2", message: "a spent token was shown again by another key; it was first redeemed by web-1", since: mock.started - 86400, last: mock.started - 7200, count: 12 },
    { kind: "misbehaved", subject: "ada-laptop", message: "31 refused attempts in a minute from ada-laptop, most of them at payments-db tcp/5432", since: mock.started - 400, last: mock.started - 1, count: 31 },
  ];
}

const textAt = (world, generation) => (generation === world.generation ? world.text : world.text.replace(/# People come in by the front door only\.\n/, "").replace(/\[\[grant\]\]\nid {3}= "backup[\s\S]*?\n\n/, ""));

function historyOf(world, now) {
  if (!world.text) return [];
  return Array.from({ length: 12 }, (_, i) => {
    const generation = world.generation - i;
    return { generation, epoch: 1, root: (generation * 7919).toString(16).padStart(64, "0"), items: 40 + generation, applied: now - 5000 - i * i * 40000, by: i % 3 ? "key:ci-deployer" : "local:ada", files: ["policy.toml"], current: i === 0 };
  });
}

function usageOf(mock, within, now) {
  const { world } = mock;
  const sum = new Map(world.grants.map((g) => [g.id, { name: g.id, flows: 0, bytes: 0, last_seen: null }]));
  for (const e of world.edges) {
    const row = e.grant ? sum.get(e.grant) : undefined;
    const shown = row && edgeIn(e, now - within, now);
    if (!shown) continue;
    row.flows += shown.flows + shown.tries;
    row.bytes += shown.bytes_out + shown.bytes_back;
    row.last_seen = Math.max(row.last_seen ?? 0, Math.floor(shown.last_seen / 1000));
  }
  return { generation: world.generation, within, grants: [...sum.values()], observed_since: mock.world.begin };
}

const listen = (text) => {
  const [protocol, port] = text.split("/");
  if (protocol === "icmp") return { protocol: "icmp-echo", first: 0, last: 0 };
  const [first, last] = port.split("-").map(Number);
  return { protocol, first, last: last ?? first };
};

function reviewOf(world, body) {
  const given = body?.sources?.[0]?.text ?? "";
  const same = given === world.text;
  const tuple = { from: "tag:backup", to: `tag:${world.services[0]?.tag}`, listen: listen("tcp/443"), by: [{ service: world.services[0]?.name, grant: "backup-reads-the-first" }] };
  return {
    current: world.generation, epoch: 1, root: "cd".repeat(32), items: 40, observe: false, refused: null,
    warnings: [{ severity: "warning", id: "no-offerer", message: "service `exports` is offered by no node that is enrolled", file: "policy.toml", line: 31, column: 1, hint: null }],
    tests: [{ id: "people-do-not-log-in", passed: true, message: "denied, as expected" }],
    proofs: [
      { id: "people-never-reach-the-database", outcome: "proved", message: "no node of tag:people that could be enrolled reaches the database", witness: null },
      { id: "the-front-is-open", outcome: "proved", message: "every node of tag:people that could be enrolled reaches the front", witness: null },
    ],
    diff: { gained: [], lost: same ? [] : [tuple] },
  };
}

function subjects(world, text) {
  if (!text) throw new Problem(400, "bad-request", "`from` and `to` must be given");
  if (text.startsWith("tag:")) {
    const found = world.nodes.filter((n) => n.tags.includes(text.slice(4)));
    if (!found.length) throw new Problem(400, "bad-request", `the policy declares no tag \`${text.slice(4)}\``);
    return found;
  }
  const node = find(world, text.replace(/^node:/, ""));
  if (!node) throw new Problem(404, "node-unknown", `there is no node \`${text}\``, "did you mean `" + (world.nodes[0]?.name ?? "") + "`?");
  return [node];
}

function canOf(world, q) {
  const from = subjects(world, q.from);
  const name = (q.to ?? "").replace(/^service:/, "");
  const service = world.services.find((s) => s.name === name);
  const targets = service ? world.nodes.filter((n) => service.nodes.includes(n.id)) : subjects(world, q.to);
  const answer = { yes: false, passes: [], fails: [] };
  for (const a of from) for (const b of targets.filter((b) => b !== a)) {
    for (const s of service ? [service] : world.services.filter((s) => s.nodes.includes(b.id))) for (const p of s.ports) {
      const grant = world.grants.find((g) => g.mode === "enforce" && g.to === s.name && (!g.from || g.from.some((t) => a.tags.includes(t))));
      if (grant) answer.passes.push({ from: a.name, to: b.name, listen: listen(p), service: s.name, grant: grant.id });
      else answer.fails.push({ from: a.name, to: b.name, listen: listen(p), reason: `no grant lets tag:${a.tags[0]} to service \`${s.name}\``, nearest: world.grants.find((g) => g.to === s.name)?.id ?? null });
    }
  }
  answer.yes = answer.passes.length > 0 && !answer.fails.length;
  return answer;
}

function whyOf(world, q) {
  const a = canOf(world, q);
  const by = a.yes ? a.passes[0] : null;
  return { allowed: !!by, generation: world.generation, from: q.from, to: q.to, observe: false, by, nearest: a.fails[0]?.nearest ?? null, message: by ? `allowed by grant ${by.grant}` : `not allowed at generation ${world.generation}: ${a.fails[0]?.reason ?? "nothing there could be reached"}` };
}

function auditOf(mock, q) {
  const { world } = mock;
  const { started } = mock;
  const limit = Math.min(Number(q.limit || 100), 10000);
  const after = q.after === undefined ? Math.max(0, world.revision - limit) : Number(q.after);
  const rows = [];
  const kinds = ["node-admitted", "token-stored", "keys-renewed", "policy-applied", "node-amended"];
  for (let r = after + 1; r <= world.revision && rows.length < limit; r++) {
    const node = world.nodes[r % Math.max(1, world.nodes.length)];
    const kind = r === 1 ? "network-founded" : kinds[(r * 7) % 5];
    const who = { "node-admitted": `node:${node?.id}`, "keys-renewed": `node:${node?.id}`, "token-stored": "local:ada", "policy-applied": "key:ci-deployer", "node-amended": "local:ada", "network-founded": "local:root" }[kind];
    const what = { "node-admitted": `node ${node?.name} (${node?.id}) admitted by token ${node?.token}`, "keys-renewed": `node ${node?.id} renewed its WireGuard keys`, "token-stored": `token ${node?.token} stored: tags [${node?.tags.join(", ")}], name ${node?.name}, 1 use(s), until 2026-12-24T00:00:00Z`, "policy-applied": `policy generation ${Math.max(1, r % 12)} applied from [policy.toml]`, "node-amended": `node ${node?.id} is now ${node?.name} with tags [${node?.tags.join(", ")}]`, "network-founded": "network founded with 1 authority key(s), freshness 604800 s" }[kind];
    rows.push({ revision: r, at: started - (world.revision - r) * 3700 - 60, principal: who, what: [what], kinds: [kind], hash: (r * 2654435761).toString(16).padStart(64, "9") });
  }
  return { rows, revision: world.revision, hash: "3f".repeat(32) };
}

function keysOf(now) {
  return [
    { id: "mockmockmock", name: "ada-laptop", scope: "admin", created: now - 86400 * 9, ends: now + 86400 * 21, revoked: null, last_used: now - 3 },
    { id: "ci0000deploy", name: "ci-deployer", scope: "operate", created: now - 86400 * 60, ends: null, revoked: null, last_used: now - 4000 },
    { id: "grafana00000", name: "grafana", scope: "read", created: now - 86400 * 30, ends: now - 86400, revoked: null, last_used: now - 90000 },
    { id: "old000000key", name: "bob-laptop", scope: "read", created: now - 86400 * 90, ends: null, revoked: now - 86400 * 12, last_used: null },
  ];
}

function tokensOf(world, now) {
  const states = ["spent", "usable", "expired", "spent", "revoked", "usable"];
  return world.nodes.slice(0, 6).map((n, i) => ({ token: n.token, state: states[i], tags: n.tags, name: i % 2 ? null : n.name, name_prefix: i % 2 ? "web-" : null, uses: 1 + (i % 2) * 4, used: states[i] === "spent" ? 1 + (i % 2) * 4 : 0, not_after: now + (states[i] === "usable" ? 7000 : -7000), created: n.enrolled, redeemed_by: states[i] === "spent" ? [n.id] : [] }));
}

function command(mock, body) {
  const token = body?.command === "revoke-token" ? mock.tokens.find((t) => t.token === body.token) : undefined;
  if (!token) throw new Problem(422, "refused", "the mock only revokes tokens it has");
  token.state = "revoked";
  mock.world.revision++;
  return { revision: mock.world.revision, epoch: 1, generation: mock.world.generation };
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
const send = (stream, event, data) => stream.response.write(`id: m${++serial}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`);

function tick(mock) {
  if (frozen !== null) return;
  const second = clock() - 1;
  const edges = mock.world.edges.map((e) => ({ ...keyOf(e), ...sums(e, second, second + 1), rtt_us: e.rtt === null ? null : Math.round(e.rtt), last_seen: second * 1000 + 999, seen_by: e.from.node ? ["from", "to"] : ["to"] })).filter((e) => !quiet(e));
  const rows = [...mock.streams].some((s) => s.flows) ? flowsOf(mock.world, second) : [];
  for (const stream of mock.streams) {
    if (edges.length) send(stream, "edges", { at: second, edges });
    if (second % 10 === 0) send(stream, "status", statusOf(mock, clock()));
    const fitting = stream.flows ? rows.filter(stream.fits) : [];
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
  const { url } = await serve({ port: Number(flag("port", 4180)), size: Number(flag("size", 10)), seed: Number(flag("seed", 7)), hostile: !process.argv.includes("--no-hostile"), empty: process.argv.includes("--empty") });
  console.log(`mock coordinator: ${url}/#link=${LINK}`);
  console.log(`key: ${KEY}`);
}
