// From the API's map to what is drawn: groups of nodes, what stands inside them, and the links between.
import type { Edge, End, FlowMap, MapNode, MapService, Verdict } from "../api/types";
import type { Grouping, Level } from "../state/url";
import { visible } from "../format";

export interface Group {
  key: string;
  label: string;
  kind: "tag" | "site" | "node" | "outside";
  nodes: MapNode[];
  /** Services that a node of this group offers, by name. */
  services: { name: string; ports: string[]; nodes: string[]; addresses: string[] }[];
  /** Overlay or foreign addresses that are no node, in `outside` only. */
  addresses: string[];
}

export const OUTSIDE = "outside";

/** Policy notation: a node without tags is untagged. */
export function groupKey(node: MapNode, by: Grouping): string {
  switch (by) {
    case "tag": {
      // A tag that only says the site is no role.
      const roles = node.tags.filter((t) => node.site === null || t !== `site-${node.site}`);
      return roles.length ? `tag:${roles.sort().join(" & ")}` : "untagged";
    }
    case "site":
      return node.site === null ? "site not known" : `site:${node.site}`;
    case "node":
      return `node:${node.id}`;
  }
}

export function groups(map: FlowMap, by: Grouping): Group[] {
  const found = new Map<string, Group>();
  const members = new Map<string, Group>();
  for (const node of map.nodes) {
    if (node.revoked !== null && !map.edges.some((e) => e.from.node === node.id || e.to.node === node.id)) continue;
    const key = groupKey(node, by);
    let group = found.get(key);
    if (!group) {
      const label = by === "node" ? node.name : key.replace(/^(tag|site):/, "");
      group = { key, label: visible(label), kind: by, nodes: [], services: [], addresses: [] };
      found.set(key, group);
    }
    group.nodes.push(node);
    members.set(node.id, group);
  }
  const everybody = map.nodes.filter((n) => n.revoked === null).length;
  for (const service of map.services) {
    // What every node offers (ping, mostly) tells no node from another: it is in the sheets, not in the boxes.
    if (everybody > 2 && service.nodes.length >= everybody) continue;
    for (const id of service.nodes) {
      const group = members.get(id);
      if (!group) continue;
      const known = group.services.find((s) => s.name === service.name);
      if (known) known.nodes.push(id);
      else
        group.services.push({
          name: service.name,
          ports: service.ports,
          nodes: [id],
          addresses: service.addresses ?? [],
        });
    }
  }
  const strangers = new Set<string>();
  for (const edge of map.edges)
    for (const end of [edge.from, edge.to]) if (!end.node || !members.has(end.node)) strangers.add(stranger(end));
  if (strangers.size) {
    found.set(OUTSIDE, {
      key: OUTSIDE,
      label: "outside",
      kind: "outside",
      nodes: [],
      services: [],
      addresses: [...strangers].sort(),
    });
  }
  const list = [...found.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  for (const group of list) {
    group.nodes.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
    group.services.sort((a, b) => (a.name < b.name ? -1 : 1));
  }
  return list;
}

/** What an end without a known node is called. */
export function stranger(end: End): string {
  return end.address ?? end.name ?? end.node ?? "not known";
}

/** Does `tcp/9000-9010` cover this protocol and port? */
export function covers(listen: string, protocol: number, port: number): boolean {
  const [name, range = ""] = listen.split("/");
  if (name === "icmp") return protocol === 1 || protocol === 58;
  if (name === "proto") return protocol === Number(range);
  if (protocol !== (name === "tcp" ? 6 : name === "udp" ? 17 : -1)) return false;
  const [first = 0, last = first] = range.split("-").map(Number);
  return first <= port && port <= last;
}

/**
 * The service an edge is about. Who was refused did not learn its name: then what the other end offers on that port, but nothing
 * that is behind it: of such hosts the coordinator itself says the service.
 */
export function aim(edge: Edge, services: readonly MapService[]): string | null {
  if (edge.service !== null) return edge.service;
  const node = edge.to.node;
  if (node === null) return null;
  return (
    services.find(
      (s) => !s.addresses?.length && s.nodes.includes(node) && s.ports.some((p) => covers(p, edge.protocol, edge.port)),
    )?.name ?? null
  );
}

// --- slots: the places in a drawing that a link can touch

export const slot = {
  group: (key: string) => `g\n${key}`,
  service: (key: string, service: string) => `s\n${key}\n${service}`,
  node: (id: string) => `n\n${id}`,
  at: (id: string, service: string) => `v\n${id}\n${service}`,
  address: (address: string) => `a\n${address}`,
};

export interface Link {
  id: string;
  from: string;
  to: string;
  /** Keys of the groups at both ends. */
  fromGroup: string;
  toGroup: string;
  verdict: Verdict;
  edges: Edge[];
  bytes: number;
  tries: number;
  /** All of it began inside the window. */
  isNew: boolean;
}

/** The links that join the slots which `levels` leave visible; what one group hides is added up. */
export function links(
  map: FlowMap,
  list: readonly Group[],
  levelOf: (key: string) => Level,
  shown: (slot: string) => boolean = () => true,
): Link[] {
  const members = new Map<string, Group>();
  for (const group of list) for (const node of group.nodes) members.set(node.id, group);
  const found = new Map<string, Link>();
  const begins = map.from * 1000;
  const place = (end: End, service: string | null, target: boolean): [string, string] => {
    const group = end.node ? members.get(end.node) : undefined;
    if (!group || !end.node) {
      const address = slot.address(stranger(end));
      return [levelOf(OUTSIDE) > 0 && shown(address) ? address : slot.group(OUTSIDE), OUTSIDE];
    }
    const level = group.kind === "node" ? Math.min(1, levelOf(group.key)) : levelOf(group.key);
    const tries: string[] = [];
    if (level === 2) {
      if (target && service) tries.push(slot.at(end.node, service));
      tries.push(slot.node(end.node));
    }
    if (level === 1 && target && service) tries.push(slot.service(group.key, service));
    return [tries.find(shown) ?? slot.group(group.key), group.key];
  };
  for (const edge of map.edges) {
    const [from, fromGroup] = place(edge.from, edge.service, false);
    const [to, toGroup] = place(edge.to, aim(edge, map.services), true);
    const id = `${from}\r${to}\r${edge.verdict}`;
    let link = found.get(id);
    if (!link) {
      link = { id, from, to, fromGroup, toGroup, verdict: edge.verdict, edges: [], bytes: 0, tries: 0, isNew: true };
      found.set(id, link);
    }
    link.edges.push(edge);
    link.bytes += edge.bytes_out + edge.bytes_back;
    link.tries += edge.tries;
    link.isNew &&= edge.first_seen >= begins;
  }
  return [...found.values()];
}

/** The link of this id, whatever is open or closed in the picture. */
export function between(map: FlowMap, list: readonly Group[], id: string): Link | null {
  const [from = "", to = "", verdict = ""] = id.split("\r");
  const fits = (at: string, target: boolean) => {
    const [kind, a = "", service] = at.split("\n");
    const members =
      kind === "g" || kind === "s" ? new Set(list.find((g) => g.key === a)?.nodes.map((n) => n.id)) : new Set([a]);
    return (end: End, edge: Edge) => {
      if (kind === "a") return !end.node && stranger(end) === a;
      if (kind === "g" && a === OUTSIDE) return !end.node;
      return !!end.node && members.has(end.node) && (!target || !service || aim(edge, map.services) === service);
    };
  };
  const [isFrom, isTo] = [fits(from, false), fits(to, true)];
  const edges = map.edges.filter((e) => e.verdict === verdict && isFrom(e.from, e) && isTo(e.to, e));
  if (!edges.length) return null;
  const group = (at: string) => at.split("\n")[1] ?? "";
  return {
    id,
    from,
    to,
    fromGroup: group(from),
    toGroup: group(to),
    verdict: verdict as Verdict,
    edges,
    isNew: false,
    bytes: edges.reduce((a, e) => a + e.bytes_out + e.bytes_back, 0),
    tries: edges.reduce((a, e) => a + e.tries, 0),
  };
}

/** 1 to 4.5 pixels, by the logarithm of what passed: a kilobyte is a hair, ten gigabytes a cord. */
export function width(bytes: number): number {
  return bytes <= 0 ? 1 : Math.min(4.5, 1 + Math.max(0, Math.log10(bytes) - 3) * 0.5);
}

export const isRefused = (verdict: Verdict): boolean => verdict === "deny";

export const VERDICT_WORDS: Record<string, string> = {
  allow: "allowed",
  deny: "refused",
  "would-allow": "would allow",
  "would-deny": "would deny",
  unknown: "not known",
};

/** Which gateways a node uses, and who uses it as one: by what passed in the chosen time. */
export function gatewaysInUse(map: FlowMap): { service: MapService; gateway: string; user: string }[] {
  const behind = new Map(map.services.filter((s) => s.addresses?.length).map((s) => [s.name, s]));
  const found = new Map<string, { service: MapService; gateway: string; user: string }>();
  for (const e of map.edges) {
    const service = e.service === null ? undefined : behind.get(e.service);
    if (!service || e.verdict !== "allow" || !e.from.node || !e.to.node) continue;
    found.set(`${service.name}\n${e.to.node}\n${e.from.node}`, { service, gateway: e.to.node, user: e.from.node });
  }
  return [...found.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, use]) => use);
}
