// A synthetic network: who exists, what is allowed, and how much passes when. Everything is a pure function of the seed,
// the size and the time, so that a history can be asked twice and says the same twice.

/** mulberry32: small, seeded, good enough to look alive. */
export function random(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const hex = (rng, digits) => Array.from({ length: digits }, () => Math.floor(rng() * 16).toString(16)).join("");
const base64 = (rng) => Buffer.from(hex(rng, 64), "hex").toString("base64");
const pick = (rng, list) => list[Math.floor(rng() * list.length)];

const SHOP = [
  // service, port, tag, nodes, asks
  ["shop", "tcp/443", "web", 3, ["orders", "search", "sign-in"]],
  ["orders", "tcp/8443", "orders", 2, ["orders-db", "payments", "events"]],
  ["payments", "tcp/8444", "payments", 2, ["payments-db", "events"]],
  ["payments-db", "tcp/5432", "payments-db", 1, []],
  ["orders-db", "tcp/5432", "orders-db", 2, []],
  ["search", "tcp/9200", "search", 2, ["cache"]],
  ["sign-in", "tcp/8080", "sign-in", 2, ["cache"]],
  ["cache", "tcp/6379", "cache", 1, []],
  ["events", "tcp/9092", "events", 3, []],
  ["metrics", "tcp/9090", "metrics", 1, []],
];

const AREAS = [
  "checkout",
  "catalog",
  "search",
  "payments",
  "ledger",
  "accounts",
  "shipping",
  "pricing",
  "media",
  "mail",
  "fraud",
  "stock",
  "returns",
  "reviews",
  "loyalty",
  "tax",
  "routing",
  "maps",
  "chat",
  "billing",
  "exports",
  "imports",
  "reports",
  "ads",
  "ranking",
  "identity",
  "consent",
  "partners",
  "warehouse",
  "fleet",
  "support",
  "content",
  "voice",
  "geo",
  "alerts",
  "quotas",
  "audit",
  "labels",
  "images",
  "video",
];
const ROLES = [
  ["api", "tcp/8443", 3],
  ["worker", "tcp/7000", 2],
  ["db", "tcp/5432", 2],
  ["cache", "tcp/6379", 1],
  ["queue", "tcp/9092", 1],
  ["admin", "tcp/8088", 1],
  ["sync", "tcp/7443", 1],
  ["index", "tcp/9200", 2],
  ["gate", "tcp/443", 2],
  ["blob", "tcp/9000", 1],
  ["cron", "tcp/7100", 1],
  ["probe", "udp/4000", 1],
  ["stats", "tcp/9100", 1],
];
const SITES = ["fra", "ams", "iad", null];

/** Names that no honest node has; the page must show them as text. */
export const HOSTILE = [
  "<img src=x onerror=\"document.title='owned'\">",
  "\"><script>document.title='owned'</script>",
  "invoice\u202Egnp.exe",
  "a-name-that-is-exactly-sixty-three-characters-long-and-no-more-x",
];

function designOf(size, rng) {
  if (size <= 10) return SHOP.slice(0, size);
  const rows = [];
  for (const [a, area] of AREAS.entries()) {
    for (const [role, port, nodes] of ROLES) {
      if (rows.length >= size) return rows;
      // Small networks have fewer roles an area, so that there are areas to see.
      if (size <= 150 && ROLES.findIndex((r) => r[0] === role) >= 6) continue;
      const own = (name) => `${area}-${name}`;
      const asks =
        role === "api"
          ? [own("db"), own("cache"), own("queue")]
          : role === "worker"
            ? [own("db"), own("queue")]
            : role === "gate"
              ? [own("api")]
              : [];
      if (role === "api" || role === "worker" || role === "sync")
        for (let i = 0; i < (size > 150 ? 5 : 2); i++)
          asks.push(`${pick(rng, AREAS.slice(0, Math.ceil(size / 13)))}-api`);
      if (role === "stats" || role === "cron") asks.push(`${AREAS[(a + 1) % AREAS.length]}-api`);
      rows.push([own(role), port, area, nodes, asks]);
    }
  }
  return rows;
}

export function makeWorld({ size = 10, seed = 7, now, hostile = true, late = [12, 25] }) {
  const rng = random(seed * 1000 + size);
  const begin = now - 3 * 86400;
  const design = designOf(size, rng);
  const big = size > 10;
  const nodes = [];
  const services = [];
  const tagNodes = new Map();
  const addNode = (name, tags, site, online = true) => {
    const i = nodes.length + 2;
    const enrolled = begin - Math.floor(rng() * 40 * 86400);
    const node = {
      id: hex(rng, 32),
      name,
      tags,
      site,
      online,
      v4: `100.64.${i >> 8}.${i & 255}`,
      v6: `fd7a:115c:a1e0::${i.toString(16)}`,
      identity: base64(rng),
      wireguard: [base64(rng)],
      token: base64(rng),
      enrolled,
      key_serial: 1 + Math.floor(rng() * 4),
      amendment_serial: Math.floor(rng() * 2),
      revoked: null,
      agent: "0.4.0",
      seen_at: `203.0.113.${i % 250}:51820`,
      transport: ["udp", "udp", "websocket", "udp", "quic"][i % 5],
      endpoints: [`203.0.113.${i % 250}:51820`, `10.${i >> 8}.${i & 255}.4:51820`],
      since: online ? begin + Math.floor(rng() * 86400) : now - 1500,
      behind: false,
    };
    nodes.push(node);
    return node;
  };
  for (const [name, port, tag, count] of design) {
    const own = [];
    const share = big && tagNodes.has(tag) && rng() < 0.55; // several services on the hosts of an area
    if (share) own.push(...tagNodes.get(tag).slice(0, count));
    else
      for (let n = 1; n <= count; n++)
        own.push(addNode(`${name}-${n}`, [tag], big ? pick(rng, SITES) : SITES[(n - 1) % 3]));
    tagNodes.set(tag, [...(tagNodes.get(tag) ?? []), ...(share ? [] : own)]);
    services.push({
      name,
      ports: name === "shop" ? ["tcp/443", "udp/443"] : [port],
      tag,
      nodes: own.map((n) => n.id),
      // An appliance without an agent: its nodes are gateways.
      ...(name === "cache" ? { addresses: ["10.40.7.5/32", "10.40.8.0/24"] } : {}),
      asks: design.find((d) => d[0] === name)[4],
    });
  }
  const laptop = addNode("ada-laptop", ["people"], null);
  addNode("backup-1", ["backup"], "ams", false);
  if (hostile) for (const name of HOSTILE) addNode(name, [HOSTILE[0] === name ? "<b>bold</b>" : "people"], null);
  const behind = nodes[Math.min(nodes.length - 1, 4)];
  behind.behind = true;

  const { text, grants } = policyOf(services, size);
  const world = {
    size,
    seed,
    begin,
    nodes,
    services,
    grants,
    text,
    tagNodes,
    behind,
    network: hex(rng, 32),
    generation: 12,
    revision: 240 + nodes.length,
    edges: [],
  };
  world.edges = edgesOf(world, rng, now, laptop, hostile, late);
  return world;
}

function policyOf(services, size) {
  const tags = [...new Set(services.map((s) => s.tag))];
  const grants = [];
  const lines = [
    "# Who may open a connection to what. Nothing is open that is not written here.",
    "version = 1",
    "",
    "[group.platform]",
    'members = ["ada@example.com", "ci:deployer"]',
    "",
  ];
  for (const tag of [...tags, "people", "backup"]) lines.push(`[tag.${tag}]`, 'owners = ["group:platform"]', "");
  for (const s of services)
    lines.push(
      `[service.${s.name}]`,
      ...(s.addresses
        ? [
            `via    = ["tag:${s.tag}"]`,
            `addresses = [${s.addresses.map((a) => `"${a.replace("/32", "")}"`).join(", ")}]`,
          ]
        : [`on     = ["tag:${s.tag}"]`]),
      `listen = [${s.ports.map((p) => `"${p}"`).join(", ")}]`,
      "",
    );
  lines.push("[service.ping]", 'on     = ["all-nodes"]', 'listen = ["icmp/echo"]  # IPv4 and IPv6, as everything', "");
  const why = ["OPS-2231", "the shop shows the state of an order", "agreed with security, 2026-09-14", ""];
  for (const s of services) {
    for (const asked of [...new Set(s.asks)]) {
      if (!services.some((x) => x.name === asked) || asked === s.name) continue;
      const id = `${s.name}-uses-${asked}`;
      if (grants.some((g) => g.id === id)) continue;
      grants.push({ id, from: [s.tag], by: s.name, to: asked, mode: "enforce" });
      lines.push("[[grant]]", `id   = "${id}"`, `from = ["tag:${s.tag}"]`, `to   = ["service:${asked}"]`);
      const reason = why[(grants.length * 7) % 4];
      if (reason) lines.push(`why  = "${reason}"`);
      lines.push("");
    }
  }
  const first = services[0].name;
  grants.push({ id: "people-reach-the-front", from: ["people"], by: null, to: first, mode: "enforce" });
  lines.push(
    "# People come in by the front door only.",
    "[[grant]]",
    'id   = "people-reach-the-front"',
    'from = ["tag:people"]',
    `to   = ["service:${first}"]`,
    "",
  );
  if (services.some((s) => s.name === "metrics")) {
    grants.push({ id: "metrics-try", from: ["metrics"], by: "metrics", to: "cache", mode: "audit" });
    lines.push(
      "[[grant]]",
      'id   = "metrics-try"',
      'from = ["tag:metrics"]',
      'to   = ["service:cache"]',
      'mode = "audit"',
      "until = 2027-01-31T00:00:00Z",
      "",
    );
  }
  grants.push({ id: "everyone-pings", from: null, by: null, to: "ping", mode: "enforce" });
  lines.push("[[grant]]", 'id   = "everyone-pings"', 'from = ["all-nodes"]', 'to   = ["service:ping"]', "");
  grants.push({ id: "backup-reads-the-first", from: ["backup"], by: null, to: first, mode: "enforce" });
  lines.push(
    "[[grant]]",
    'id   = "backup-reads-the-first"',
    'from = ["tag:backup"]',
    `to   = ["service:${first}"]`,
    'except = ["node:backup-9"]',
    "",
  );
  const deep = services[Math.min(3, services.length - 1)].name;
  lines.push(
    "[[invariant]]",
    'id    = "people-never-reach-the-database"',
    `never = { from = ["tag:people"], to = ["service:${deep}"] }`,
    "",
  );
  lines.push(
    "[[invariant]]",
    'id     = "the-front-is-open"',
    `always = { from = ["tag:people"], to = ["service:${first}"] }`,
    "",
  );
  lines.push(
    "[[test]]",
    'id     = "people-do-not-log-in"',
    'from   = "tag:people"',
    `to     = "tag:${services[0].tag} tcp/22"`,
    'expect = "deny"',
    "",
  );
  void size;
  return { text: lines.join("\n"), grants };
}

function edgesOf(world, rng, now, laptop, hostile, [first, second]) {
  const { nodes, services, begin } = world;
  const byId = new Map(nodes.map((n) => [n.id, n]));
  const edges = [];
  const seen = new Set();
  const end = (node) => ({ node: node.id, name: node.name, address: null });
  const foreign = (address) => ({ node: null, name: null, address });
  const add = (from, to, more) => {
    const key = JSON.stringify([from, to, more.service, more.port, more.verdict, more.grant]);
    if (seen.has(key)) return;
    seen.add(key);
    edges.push({
      id: hex(rng, 16),
      from,
      to,
      service: null,
      protocol: 6,
      port: 0,
      verdict: "allow",
      grant: null,
      generation: world.generation,
      begin: begin + Math.floor(rng() * 7200),
      until: Infinity,
      rate: 0,
      back: 0,
      flows: 0,
      tries: 0,
      period: 60 + rng() * 900,
      phase: rng() * 6.28,
      rtt: null,
      retransmissions: null,
      mismatch: null,
      ...more,
    });
  };
  const port = (s) => Number(s.ports[0].split("/")[1]);
  const protocol = (s) => (s.ports[0].startsWith("udp") ? 17 : 6);
  const fan = world.size > 150 ? 4 : 8;
  for (const grant of world.grants.filter((g) => g.mode === "enforce" && g.by)) {
    const target = services.find((s) => s.name === grant.to);
    const source = services.find((s) => s.name === grant.by);
    if (rng() < 0.06) continue; // never used
    for (const from of source.nodes.slice(0, fan)) {
      for (const to of target.nodes.slice(0, fan)) {
        if (from === to) continue;
        const rate = Math.exp(rng() * 11 + 2);
        add(end(byId.get(from)), end(byId.get(to)), {
          service: target.name,
          protocol: protocol(target),
          port: port(target),
          grant: grant.id,
          rate,
          back: rate * Math.exp(rng() * 3 - 0.5),
          flows: Math.exp(rng() * 5 - 3),
          rtt: 300 + rng() * 40000,
          retransmissions: rng() < 0.6 ? 0 : 2 + Math.floor(rng() * 40),
        });
      }
    }
  }
  const front = services[0];
  for (const to of front.nodes) {
    add(end(laptop), end(byId.get(to)), {
      service: front.name,
      port: port(front),
      protocol: protocol(front),
      grant: "people-reach-the-front",
      rate: 2400,
      back: 88000,
      flows: 0.4,
      rtt: 18400,
      retransmissions: 3,
    });
  }
  // Refused: somebody tries the database, somebody scans.
  const deep = services[Math.min(3, services.length - 1)];
  add(end(laptop), end(byId.get(deep.nodes[0])), {
    service: deep.name,
    port: port(deep),
    verdict: "deny",
    tries: 0.3,
    period: 300,
  });
  add(end(byId.get(front.nodes[0])), end(byId.get(deep.nodes[0])), {
    service: deep.name,
    port: port(deep),
    verdict: "deny",
    tries: 0.08,
    period: 700,
  });
  add(
    end(byId.get(front.nodes[front.nodes.length - 1])),
    end(byId.get(services[Math.min(5, services.length - 1)].nodes[0])),
    { port: 22, verdict: "deny", tries: 0.05 },
  );
  add(foreign("198.51.100.23"), end(byId.get(front.nodes[0])), { port: 22, verdict: "deny", tries: 1.2, period: 240 });
  // The rest of its scan: ports that are not told apart.
  add(foreign("198.51.100.23"), end(byId.get(front.nodes[0])), { port: 0, verdict: "deny", tries: 6, period: 240 });
  const cache = services.find((s) => s.name.endsWith("cache")) ?? services[0];
  const metrics = services.find((s) => s.name === "metrics") ?? services[services.length - 1];
  add(end(byId.get(metrics.nodes[0])), end(byId.get(cache.nodes[0])), {
    service: cache.name,
    port: port(cache),
    verdict: "would-allow",
    grant: world.size <= 10 ? "metrics-try" : null,
    tries: 0.2,
  });
  add(end(byId.get(metrics.nodes[0])), end(byId.get(front.nodes[0])), {
    service: front.name,
    port: port(front),
    verdict: "would-deny",
    generation: world.generation - 1,
    rate: 900,
    back: 4000,
    flows: 0.1,
    rtt: 2100,
  });
  for (const node of nodes.filter((n) => n.online).slice(0, world.size > 150 ? 0 : 6)) {
    const to = metrics.nodes[0];
    if (node.id !== to)
      add(end(byId.get(to)), end(node), {
        service: "ping",
        protocol: 1,
        port: 0,
        grant: "everyone-pings",
        rate: 84,
        back: 84,
        flows: 0.02,
        rtt: 900 + rng() * 3000,
      });
  }
  if (hostile) {
    const bad = nodes.filter((n) => HOSTILE.includes(n.name));
    for (const [i, node] of bad.entries())
      add(end(node), end(byId.get(front.nodes[i % front.nodes.length])), {
        service: front.name,
        port: port(front),
        protocol: protocol(front),
        grant: "people-reach-the-front",
        rate: 500,
        back: 9000,
        flows: 0.05,
        rtt: 30000,
      });
  }
  if (edges[0]) edges[0].mismatch = { from_bytes: 1_204_331, to_bytes: 1_201_007 };
  // What appears while one watches: a new user of the cache, and a scan that begins.
  const coming = (seconds, from, to, more) => add(from, to, { begin: now + seconds, isNews: true, ...more });
  coming(first, end(byId.get(deep.nodes[0])), end(byId.get(cache.nodes[0])), {
    service: cache.name,
    port: port(cache),
    verdict: "deny",
    tries: 2,
  });
  coming(second, foreign("192.0.2.77"), end(byId.get(front.nodes[0])), { port: 3389, verdict: "deny", tries: 3 });
  return edges;
}

/** How much had passed by `t` since the edge began: closed, so that any two windows add up. */
function passed(edge, rate, t) {
  if (rate <= 0) return 0;
  const x = Math.min(t, edge.until) - edge.begin;
  if (x <= 0) return 0;
  const w = 6.283185307179586 / edge.period;
  return Math.floor(rate * (x + (0.8 / w) * (Math.sin(w * x + edge.phase) - Math.sin(edge.phase))));
}

/** Sums in [a, b), seconds. */
export function sums(edge, a, b) {
  const d = (rate) => passed(edge, rate, b) - passed(edge, rate, a);
  const bytes_out = d(edge.rate);
  const bytes_back = d(edge.back);
  return {
    flows: d(edge.flows),
    tries: d(edge.tries),
    packets_out: Math.ceil(bytes_out / 900),
    bytes_out,
    packets_back: Math.ceil(bytes_back / 1200),
    bytes_back,
  };
}

export const quiet = (s) => !s.flows && !s.tries && !s.bytes_out && !s.bytes_back;

export function keyOf(e) {
  const { id, from, to, protocol, port, verdict, grant, generation } = e;
  // Who was refused did not learn the name of what it knocked at.
  const service = verdict === "deny" ? null : e.service;
  return { id, from, to, service, protocol, port, verdict, grant, generation };
}

/** The whole edge as `/v1/map` shows it, or nothing if it was silent in [a, b). */
export function edgeIn(e, a, b) {
  const s = sums(e, a, b);
  if (quiet(s)) return null;
  const steady = Math.max(e.rate, e.tries, e.flows);
  const last = steady >= 2 ? Math.min(b, e.until) : Math.min(b, e.begin + (passed(e, steady, b) || 1) / steady);
  const refused = e.verdict === "deny" || e.verdict === "would-allow";
  return {
    ...keyOf(e),
    ...s,
    rtt_us: e.rtt === null ? null : Math.round(e.rtt),
    retransmissions: e.retransmissions,
    first_seen: Math.round(e.begin * 1000),
    last_seen: Math.round(last * 1000),
    seen_by: refused ? ["from"] : e.from.node ? ["from", "to"] : ["to"],
    mismatch: e.mismatch,
  };
}

/** Whose traffic it is on a host: what a node's helper would say. */
function workloadOf(node, service, opens) {
  if (!node) return null;
  const own = node.name.replace(/-[0-9]+$/, "");
  const unit = (process, user, unit, more) => ({
    process,
    executable: `/usr/sbin/${process}`,
    user,
    unit,
    container: "",
    ...more,
  });
  if (HOSTILE.includes(node.name)) return unit("<b>sh</b>", "evil\u202Eresu", "");
  if (node.tags.includes("people")) return unit("firefox", "ada", "", { executable: "/usr/lib/firefox/firefox" });
  // One node of many has no helper.
  if (/-3$/.test(node.name)) return null;
  if (!opens && /db$/.test(service ?? own)) return unit("postgres", "postgres", "postgresql@17-main.service");
  if (!opens && service === "shop") return unit("nginx", "www-data", "nginx.service");
  const container = /-2$/.test(node.name) ? `docker:${node.id.slice(0, 12)}` : "";
  const name = (opens ? own : (service ?? own)).slice(0, 15);
  return unit(name, own.slice(0, 12), container ? "docker.service" : `${own}.service`, {
    container,
    executable: `/opt/${own}/bin/${name}`,
  });
}

/** Flow records that ended in the second `t`. */
export function flowsOf(world, t, limit = Infinity) {
  const rows = [];
  for (const [i, e] of world.edges.entries()) {
    const s = sums(e, t, t + 1);
    const count = Math.min(3, s.flows) || (s.tries ? 1 : 0);
    for (let k = 0; k < count && rows.length < limit; k++) {
      const rng = random((i * 7919 + (t % 1_000_003) * 31 + k) | 0);
      const refused = e.verdict === "deny" || e.verdict === "would-allow";
      const node = (end) => world.nodes.find((n) => n.id === end.node);
      const point = (end, port) => ({ node: end.node, name: end.name, address: end.address ?? node(end).v4, port });
      const started = t * 1000 + Math.floor(rng() * 900) - (refused ? 0 : Math.floor(rng() * 9000));
      const bytes = refused ? 0 : Math.floor(200 + rng() * 40 * Math.max(10, e.rate));
      rows.push({
        cursor: (t * 20000 + i * 3 + k) * 2,
        received: t + 1,
        reporter: e.from.node ?? e.to.node,
        boot: 77001,
        flow: (t % 100000) * 100000 + i * 4 + k,
        outbound: !!e.from.node,
        first: true,
        from: point(e.from, refused || e.protocol === 1 ? 0 : 32768 + Math.floor(rng() * 28000)),
        to: { ...point(e.to, e.port), ...hostOf(world, e) },
        protocol: e.protocol,
        verdict: e.verdict,
        grant: e.verdict === "allow" ? e.grant : null,
        service: keyOf(e).service,
        generation: e.generation,
        packets_out: refused ? s.tries : 1 + Math.floor(bytes / 900),
        bytes_out: refused ? s.tries * 60 : bytes,
        packets_back: refused ? 0 : 1 + Math.floor(bytes / 500),
        bytes_back: refused ? 0 : Math.floor(bytes * (0.5 + rng() * 5)),
        started_ms: started,
        last_ms: t * 1000 + 950,
        end: refused ? "refused" : rng() < 0.9 ? "closed" : rng() < 0.5 ? "reset" : "idle",
        count: refused ? s.tries : 1,
        workload: e.from.node ? workloadOf(node(e.from), e.service, true) : null,
        rtt_us: refused || e.protocol !== 6 || e.rtt === null ? null : Math.round(e.rtt * (0.8 + rng() * 0.4)),
        retransmissions: refused || e.protocol !== 6 ? null : Math.floor(rng() * 1.3),
        path: refused ? "unknown" : i % 9 === 4 ? "relayed" : "direct",
        other: null,
        mismatch: null,
      });
      // Both ends report what passed.
      const row = rows[rows.length - 1];
      if (!refused && e.from.node && e.to.node) {
        const echo = {
          ...row,
          reporter: e.to.node,
          outbound: false,
          cursor: row.cursor + 1,
          started_ms: row.started_ms + 1,
          workload: workloadOf(node(e.to), e.service, false),
        };
        rows.push(echo);
        const word = ({ reporter, packets_out, bytes_out, packets_back, bytes_back, end, workload }) => ({
          reporter,
          packets_out,
          bytes_out,
          packets_back,
          bytes_back,
          end,
          workload,
        });
        [row.other, echo.other] = [word(echo), word(row)];
      }
    }
  }
  return rows;
}

/** A host behind the node that is reached, if the service is one of those. */
function hostOf(world, edge) {
  const service = world.services.find((s) => s.name === edge.service);
  return service?.addresses ? { address: service.addresses[0].replace(/\/\d+$/, "") } : {};
}
