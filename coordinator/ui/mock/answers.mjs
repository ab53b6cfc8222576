// What each route says of the synthetic world.
import { edgeIn, flowsOf, keyOf } from "./world.mjs";

export class Problem extends Error {
  constructor(status, word, detail, hint) {
    super(detail);
    this.status = status;
    this.body = {
      type: `/problems/${word}`,
      title: word.replaceAll("-", " "),
      status,
      detail,
      ...(hint ? { hint } : {}),
    };
  }
}

export const nameOf = (world) => (world.size <= 10 ? "prod" : world.size <= 100 ? "prod-eu" : "prod-world");
export const find = (world, who) =>
  world.nodes.find((n) => n.id === who || n.name === who || n.v4 === who || n.v6 === who);

export function statusOf(mock, now) {
  const { world } = mock;
  const live = world.nodes.filter((n) => !n.revoked);
  const behind = live.filter((n) => n.behind || !n.online);
  const rows = behind.map((n) => ({
    node: n.id,
    name: n.name,
    online: n.online,
    enforces: n.online ? world.generation - 1 : null,
    since: mock.started - (n.online ? 95 : 1500),
  }));
  const enforced = live.length - behind.length;
  return {
    network: world.network,
    name: nameOf(world),
    epoch: 1,
    revision: world.revision,
    generation: world.generation,
    observe: false,
    nodes: live.length,
    online: live.filter((n) => n.online).length,
    freshness: { life: 604800, signed_at: now - 1200, not_after: now + 603600, next: now + 2400 },
    enforcement: {
      generation: world.generation,
      enforced,
      of: live.length,
      by_generation: { [world.generation]: enforced, [world.generation - 1]: behind.length },
      behind: rows,
      summary: `gen ${world.generation} enforced on ${enforced}/${live.length}`,
    },
    flows: { recorded: 48_000_000 + (now - mock.started) * 211, declared_lost: 0, rejected: 0, kept: 200000 },
    alarms: alarmsOf(mock),
    now,
    version: "0.4.0",
    history_skipped: 0,
  };
}

/** Every third peer is relayed, every third has moved to a quicker place. */
export function pathsOf(world, { from, to, limit }, now) {
  const of = (who) => (who === undefined ? null : (find(world, who) ?? null));
  const [teller, peer] = [of(from), of(to)];
  if ((from !== undefined && !teller) || (to !== undefined && !peer))
    throw new Problem(404, "node-unknown", "there is no such node");
  const pairs = new Map();
  for (const e of world.edges.filter((e) => e.verdict === "allow"))
    for (const [a, b] of [
      [e.from.node, e.to.node],
      [e.to.node, e.from.node],
    ])
      pairs.set(`${a} ${b}`, [a, b]);
  const rows = [...pairs.values()]
    .map(([a, b], i) => pathRow(world, a, b, i, now))
    .filter((row) => (!teller || teller.id === row.from) && (!peer || peer.id === row.to));
  const room = Number(limit ?? 1000);
  return { paths: rows.slice(0, room), left_off: Math.max(rows.length - room, 0) };
}

function pathRow(world, from, to, i, now) {
  const [a, b] = [world.nodes.find((n) => n.id === from), world.nodes.find((n) => n.id === to)];
  const [relayed, faster] = [i % 3 === 1, i % 3 === 2];
  const trip = relayed ? 24_300 : 1_250 + i * 10;
  const [lan, wan] = [`192.168.1.${10 + (i % 200)}:51820`, `198.51.100.${1 + (i % 250)}:40${100 + (i % 800)}`];
  const place = (place, in_use, answered, round_trip_us) => ({
    place,
    relayed: place.startsWith("relayed"),
    in_use,
    answered,
    round_trip_us,
  });
  const seat = `relayed (seat ${i + 7})`;
  const used = relayed ? seat : faster ? lan : wan;
  const move = (at, from, to, reason) => ({ at: now - at, from, to, reason });
  return {
    from,
    from_name: a?.name ?? null,
    to,
    to_name: b?.name ?? null,
    told: now - 12,
    in_use: used,
    relayed,
    round_trip_us: trip,
    why: relayed ? "relayed" : faster ? "faster" : "candidate",
    text: relayed
      ? "no direct path answers, so the relay carries what is said; direct paths are tried again and again"
      : faster
        ? "the peer answers sooner here than at its other places"
        : "the peer answers at this candidate",
    places: [
      place(lan, used === lan, faster ? now - 4 : null, faster ? trip : null),
      place(wan, used === wan, relayed ? null : now - 4, relayed ? null : used === wan ? trip : trip + 7_000),
      place(seat, relayed, relayed ? now - 9 : null, relayed ? trip : null),
    ],
    moves: [
      move(900, null, wan, "told"),
      ...(relayed ? [move(890, wan, seat, "roamed")] : faster ? [move(870, wan, lan, "faster")] : []),
    ],
  };
}

export function nodeRow(world, n, now) {
  const {
    id,
    name,
    tags,
    identity,
    v4,
    v6,
    wireguard,
    enrolled,
    token,
    key_serial,
    amendment_serial,
    revoked,
    online,
    since,
    endpoints,
  } = n;
  const generation = world.generation - (n.behind ? 1 : 0);
  const progress = { revision: world.revision - (n.behind ? 3 : 0), generation, at: now - 400 };
  const peers = new Set(
    world.edges
      .filter((e) => e.verdict === "allow" && (e.from.node === id || e.to.node === id))
      .map((e) => (e.from.node === id ? e.to.node : e.from.node)),
  );
  const own = world.services.filter((s) => s.nodes.includes(id));
  const offers = own.filter((s) => !s.addresses).map((s) => s.name);
  const leads_to = own.filter((s) => s.addresses).map((s) => s.name);
  return {
    id,
    name,
    tags,
    identity,
    v4,
    v6,
    wireguard,
    enrolled,
    token,
    key_serial,
    keys_since: enrolled + (key_serial - 1) * 3600,
    amendment_serial,
    revoked,
    online,
    since,
    seen_at: online ? n.seen_at : null,
    transport: online ? n.transport : null,
    endpoints,
    agent: online ? n.agent : null,
    sent: online ? { ...progress, revision: world.revision, generation: world.generation } : null,
    enforced: online ? progress : null,
    offers,
    leads_to,
    dns: revoked === null ? [name, ...offers].map((label) => `${label}.prod.internal`) : [],
    external: null,
    peers: peers.size,
  };
}

function windowOf(q, now) {
  const live = q.at === undefined;
  const at = live ? now : Number(q.at);
  const window = Number(q.window ?? 300);
  if (!Number.isInteger(at) || !(window >= 1) || window > 31 * 86400)
    throw new Problem(
      400,
      "bad-request",
      `\`at=${q.at}\`, \`window=${q.window}\` is no time`,
      "at: seconds since 1970; window: 1 to 2678400 seconds",
    );
  const resolution = window <= 600 ? 1 : window <= 86400 ? 60 : 3600;
  // A step that has begun belongs to the stretch: a coarse one ends in the future.
  const end = Math.ceil(at / resolution) * resolution;
  return {
    live,
    at: end,
    from: Math.floor((at - window) / resolution) * resolution,
    until: Math.min(end, now),
    resolution,
  };
}

export function mapOf(mock, q, now) {
  const { world } = mock;
  const { live, at, from, until, resolution } = windowOf(q, now);
  const limit = Math.min(Number(q.edges ?? mock.limit), mock.limit);
  const { edges, extent } = heaviest(world.edges.map((e) => edgeIn(e, from, until)).filter(Boolean), limit);
  return {
    at,
    from,
    resolution,
    live,
    revision: world.revision,
    generation: world.generation,
    observe: false,
    complete_from: from,
    complete_until: Math.min(at, now - 2),
    recorded_since: now - 30 * 86400,
    lost: { declared: 0, rejected: 0, skipped: 0, lost_at_end: 0, untold_ends: 0 },
    extent,
    nodes: world.nodes.map((n) =>
      live
        ? mapNode(world, n, mock.started)
        : { ...mapNode(world, n, mock.started), online: null, enforces: null, behind_since: null },
    ),
    services: world.services.map(({ name, ports, nodes, addresses }) => ({ name, ports, nodes, addresses })),
    edges,
  };
}

/** Half of the room for what passed, half for what did not; what one does not need the other has. */
function heaviest(all, limit) {
  const isTry = (e) => e.verdict === "deny" || e.verdict === "would-allow";
  const bytes = (e) => e.bytes_out + e.bytes_back;
  const passed = all.filter((e) => !isTry(e)).sort((a, b) => bytes(b) - bytes(a));
  const refused = all.filter(isTry).sort((a, b) => b.tries - a.tries);
  const room = Math.min(refused.length, Math.max(Math.floor(limit / 2), limit - passed.length));
  const kept = new Set([...refused.slice(0, room), ...passed.slice(0, limit - room)]);
  const fields = ["flows", "tries", "packets_out", "bytes_out", "packets_back", "bytes_back"];
  const gone = all.filter((e) => !kept.has(e));
  const left_out = Object.fromEntries(fields.map((f) => [f, gone.reduce((sum, e) => sum + e[f], 0)]));
  const edges = all.filter((e) => kept.has(e));
  return { edges, extent: { shown: edges.length, total: all.length, limit, left_out } };
}

function mapNode(world, n, started) {
  return {
    id: n.id,
    name: n.name,
    tags: n.tags,
    site: n.site,
    addresses: [n.v4, n.v6],
    online: n.online,
    enforces: n.online ? world.generation - (n.behind ? 1 : 0) : null,
    behind_since: n.behind ? started - 95 : n.online ? null : started - 1500,
    revoked: n.revoked,
  };
}

export const matches = (q) => {
  const is = (wanted, end) =>
    !wanted || end.name === wanted.replace(/^node:/, "") || end.node === wanted || end.address === wanted;
  return (e) =>
    is(q.from, e.from) &&
    is(q.to, e.to) &&
    (!q.service || keyOf(e).service === q.service) &&
    (!q.verdict || e.verdict === q.verdict) &&
    (!q.grant || e.grant === q.grant) &&
    (!q.protocol || e.protocol === Number(q.protocol)) &&
    (!q.port || (e.port ?? e.to.port) === Number(q.port));
};

export function edgesOf(mock, q, now) {
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
  const from = Math.floor(since / resolution) * resolution;
  return { resolution, from, until: Math.ceil(until / resolution) * resolution, complete_from: from, rows, next: null };
}

export function flowList(mock, q, now) {
  const limit = Math.min(Number(q.limit || 1000), 10000);
  const until = Math.min(Number(q.until ?? now), now);
  const since = Math.max(Number(q.since ?? until - 300), until - 3600);
  const rows = [];
  const fits = matches(q);
  for (let t = until - 1; t >= since && rows.length <= limit + Number(q.before?.split(".")[2] ?? 0); t--)
    rows.push(...flowsOf(mock.world, t).filter(fits));
  rows.sort((a, b) => b.last_ms - a.last_ms || b.cursor - a.cursor);
  const skip = Number(q.before?.split(".")[2] ?? 0);
  const next = rows.length > skip + limit ? `0.0.${skip + limit}` : null;
  return { rows: rows.slice(skip, skip + limit), next, searched_to: null, kept_since: now - 30 * 86400 };
}

export function alarmsOf(mock) {
  const { world } = mock;
  if (!world.nodes.length) return [];
  return [
    {
      kind: "node-complaint",
      subject: world.behind.name,
      message: `${world.behind.name} does not enforce generation ${world.generation}: it says that the policy's proof does not reach its root`,
      since: mock.started - 95,
      last: mock.started - 5,
      count: 3,
    },
    {
      kind: "token-reused",
      subject: "tok-7Qm2",
      message: "a spent token was shown again by another key; it was first redeemed by web-1",
      since: mock.started - 86400,
      last: mock.started - 7200,
      count: 12,
    },
    {
      kind: "misbehaved",
      subject: "ada-laptop",
      message: "31 refused attempts in a minute from ada-laptop, most of them at payments-db tcp/5432",
      since: mock.started - 400,
      last: mock.started - 1,
      count: 31,
    },
  ];
}

export const textAt = (world, generation) =>
  generation === world.generation
    ? world.text
    : world.text
        .replace(/# People come in by the front door only\.\n/, "")
        .replace(/\[\[grant\]\]\nid {3}= "backup[\s\S]*?\n\n/, "");

export function historyOf(world, now) {
  if (!world.text) return [];
  return Array.from({ length: 12 }, (_, i) => {
    const generation = world.generation - i;
    return {
      generation,
      epoch: 1,
      root: (generation * 7919).toString(16).padStart(64, "0"),
      items: 40 + generation,
      applied: now - 5000 - i * i * 40000,
      by: i % 3 ? "key:ci-deployer" : "local:ada",
      files: ["policy.toml"],
      current: i === 0,
    };
  });
}

export function usageOf(mock, within, now) {
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
  const grants = [...sum.values()];
  return {
    generation: world.generation,
    within,
    from: now - within,
    resolution: within <= 600 ? 1 : 3600,
    grants,
    observed_since: mock.world.begin,
  };
}

const listen = (text) => {
  const [protocol, port] = text.split("/");
  if (protocol === "icmp") return { protocol: "icmp-echo", first: 0, last: 0 };
  const [first, last] = port.split("-").map(Number);
  return { protocol, first, last: last ?? first };
};

export function reviewOf(world, body) {
  const given = body?.sources?.[0]?.text ?? "";
  const same = given === world.text;
  const tuple = {
    from: "tag:backup",
    to: `tag:${world.services[0]?.tag}`,
    listen: listen("tcp/443"),
    by: [{ service: world.services[0]?.name, grant: "backup-reads-the-first" }],
  };
  return {
    current: world.generation,
    epoch: 1,
    root: "cd".repeat(32),
    items: 40,
    observe: false,
    refused: null,
    warnings: [
      {
        severity: "warning",
        id: "no-offerer",
        message: "service `exports` is offered by no node that is enrolled",
        file: "policy.toml",
        line: 31,
        column: 1,
        hint: null,
      },
    ],
    tests: [{ id: "people-do-not-log-in", passed: true, message: "denied, as expected" }],
    proofs: [
      {
        id: "people-never-reach-the-database",
        outcome: "proved",
        message: "no node of tag:people that could be enrolled reaches the database",
        witness: null,
      },
      {
        id: "the-front-is-open",
        outcome: "proved",
        message: "every node of tag:people that could be enrolled reaches the front",
        witness: null,
      },
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
  if (!node)
    throw new Problem(
      404,
      "node-unknown",
      `there is no node \`${text}\``,
      "did you mean `" + (world.nodes[0]?.name ?? "") + "`?",
    );
  return [node];
}

export function canOf(world, q) {
  const from = subjects(world, q.from);
  const name = (q.to ?? "").replace(/^service:/, "");
  const service = world.services.find((s) => s.name === name);
  const targets = service ? world.nodes.filter((n) => service.nodes.includes(n.id)) : subjects(world, q.to);
  const answer = { yes: false, passes: [], fails: [] };
  for (const a of from)
    for (const b of targets.filter((b) => b !== a)) {
      for (const s of service ? [service] : world.services.filter((s) => s.nodes.includes(b.id)))
        for (const p of s.ports) {
          const grant = world.grants.find(
            (g) => g.mode === "enforce" && g.to === s.name && (!g.from || g.from.some((t) => a.tags.includes(t))),
          );
          if (grant)
            answer.passes.push({ from: a.name, to: b.name, listen: listen(p), service: s.name, grant: grant.id });
          else
            answer.fails.push({
              from: a.name,
              to: b.name,
              listen: listen(p),
              reason: `no grant lets tag:${a.tags[0]} to service \`${s.name}\``,
              nearest: world.grants.find((g) => g.to === s.name)?.id ?? null,
            });
        }
    }
  answer.yes = answer.passes.length > 0 && !answer.fails.length;
  return answer;
}

export function whyOf(world, q) {
  const a = canOf(world, q);
  const by = a.yes ? a.passes[0] : null;
  return {
    allowed: !!by,
    generation: world.generation,
    from: q.from,
    to: q.to,
    observe: false,
    by,
    nearest: a.fails[0]?.nearest ?? null,
    message: by
      ? `allowed by grant ${by.grant}`
      : `not allowed at generation ${world.generation}: ${a.fails[0]?.reason ?? "nothing there could be reached"}`,
  };
}

export function auditOf(mock, q) {
  const { world } = mock;
  const { started } = mock;
  const limit = Math.min(Number(q.limit || 100), 10000);
  const after = q.after === undefined ? Math.max(0, world.revision - limit) : Number(q.after);
  const rows = [];
  const kinds = ["node-admitted", "token-stored", "keys-renewed", "policy-applied", "node-amended"];
  for (let r = after + 1; r <= world.revision && rows.length < limit; r++) {
    const node = world.nodes[r % Math.max(1, world.nodes.length)];
    const kind = r === 1 ? "network-founded" : kinds[(r * 7) % 5];
    const who = {
      "node-admitted": `node:${node?.id}`,
      "keys-renewed": `node:${node?.id}`,
      "token-stored": "local:ada",
      "policy-applied": "key:ci-deployer",
      "node-amended": "local:ada",
      "network-founded": "local:root",
    }[kind];
    const what = {
      "node-admitted": `node ${node?.name} (${node?.id}) admitted by token ${node?.token}`,
      "keys-renewed": `node ${node?.id} renewed its WireGuard keys`,
      "token-stored": `token ${node?.token} stored: tags [${node?.tags.join(", ")}], name ${node?.name}, 1 use(s), until 2026-12-24T00:00:00Z`,
      "policy-applied": `policy generation ${Math.max(1, r % 12)} applied from [policy.toml]`,
      "node-amended": `node ${node?.id} is now ${node?.name} with tags [${node?.tags.join(", ")}]`,
      "network-founded": "network founded with 1 authority key(s), freshness 604800 s",
    }[kind];
    rows.push({
      revision: r,
      at: started - (world.revision - r) * 3700 - 60,
      principal: who,
      what: [what],
      kinds: [kind],
      hash: (r * 2654435761).toString(16).padStart(64, "9"),
    });
  }
  return { rows, revision: world.revision, hash: "3f".repeat(32) };
}

export function keysOf(now) {
  return [
    {
      id: "mockmockmock",
      name: "ada-laptop",
      scope: "admin",
      created: now - 86400 * 9,
      ends: now + 86400 * 21,
      revoked: null,
      last_used: now - 3,
    },
    {
      id: "ci0000deploy",
      name: "ci-deployer",
      scope: "operate",
      created: now - 86400 * 60,
      ends: null,
      revoked: null,
      last_used: now - 4000,
    },
    {
      id: "grafana00000",
      name: "grafana",
      scope: "read",
      created: now - 86400 * 30,
      ends: now - 86400,
      revoked: null,
      last_used: now - 90000,
    },
    {
      id: "old000000key",
      name: "bob-laptop",
      scope: "read",
      created: now - 86400 * 90,
      ends: null,
      revoked: now - 86400 * 12,
      last_used: null,
    },
  ];
}

export function tokensOf(world, now) {
  const states = ["spent", "usable", "expired", "spent", "revoked", "usable"];
  return world.nodes.slice(0, 6).map((n, i) => ({
    token: n.token,
    state: states[i],
    tags: n.tags,
    name: i % 2 ? null : n.name,
    name_prefix: i % 2 ? "web-" : null,
    uses: 1 + (i % 2) * 4,
    used: states[i] === "spent" ? 1 + (i % 2) * 4 : 0,
    not_after: now + (states[i] === "usable" ? 7000 : -7000),
    created: n.enrolled,
    redeemed_by: states[i] === "spent" ? [n.id] : [],
  }));
}

export function command(mock, body) {
  const token = body?.command === "revoke-token" ? mock.tokens.find((t) => t.token === body.token) : undefined;
  if (!token) throw new Problem(422, "refused", "the mock only revokes tokens it has");
  token.state = "revoked";
  mock.world.revision++;
  return { revision: mock.world.revision, epoch: 1, generation: mock.world.generation };
}
