// Whose traffic it is: the process at each end of a flow, as far as its node could tell. Pure.
import type { FlowRow, Workload } from "./api/types";

/** Of the opener and of the other end, whoever of the two reported. */
export function ends(row: FlowRow): { from: Workload | null; to: Workload | null } {
  const other = row.other?.workload ?? null;
  return row.outbound ? { from: row.workload, to: other } : { from: other, to: row.workload };
}

/** Where it lives: its container, else its unit. */
export const placeOf = (w: Workload): string | null => w.container || w.unit || null;

/** What it is called. */
export const nameOf = (w: Workload): string | null => w.process || w.executable || null;

/** `nginx (www-data) in nginx.service`; null: nothing is known. */
export function words(w: Workload | null): string | null {
  if (!w) return null;
  const place = placeOf(w);
  return [nameOf(w), w.user ? `(${w.user})` : null, place ? `in ${place}` : null].filter(Boolean).join(" ") || null;
}

/** One process of a host, and what it was seen doing. */
export interface Doing {
  key: string;
  /** null: flows whose process is not known. */
  workload: Workload | null;
  flows: number;
  last_ms: number;
  /** What it opens, and what it is opened for: services, else nodes. */
  opens: string[];
  serves: string[];
}

const keyOf = (w: Workload | null) => (w ? [w.process, w.executable, w.user, w.unit, w.container].join("\u0000") : "");

/** The processes of one node by its flows, the busiest first; what is not known last. */
export function doings(rows: readonly FlowRow[], node: string): Doing[] {
  const found = new Map<string, Doing & { out: Set<string>; into: Set<string> }>();
  for (const row of rows) {
    const isFrom = row.from.node === node;
    if (!isFrom && row.to.node !== node) continue;
    const { from, to } = ends(row);
    const workload = isFrom ? from : to;
    const key = keyOf(workload);
    let doing = found.get(key);
    if (!doing) {
      doing = { key, workload, flows: 0, last_ms: 0, opens: [], serves: [], out: new Set(), into: new Set() };
      found.set(key, doing);
    }
    doing.flows += 1;
    doing.last_ms = Math.max(doing.last_ms, row.last_ms);
    const about = row.service ?? (isFrom ? (row.to.name ?? row.to.address) : null);
    if (about) (isFrom ? doing.out : doing.into).add(about);
  }
  return [...found.values()]
    .map(({ out, into, ...doing }) => ({ ...doing, opens: [...out].sort(), serves: [...into].sort() }))
    .sort((a, b) => Number(!a.workload) - Number(!b.workload) || b.flows - a.flows || (a.key < b.key ? -1 : 1));
}

/** Processes of one end of an edge, the busiest first, with how many flows each had. */
export function atEnd(rows: readonly FlowRow[], end: "from" | "to"): { workload: Workload; flows: number }[] {
  const found = new Map<string, { workload: Workload; flows: number }>();
  for (const row of rows) {
    const workload = ends(row)[end];
    if (!workload) continue;
    const known = found.get(keyOf(workload));
    if (known) known.flows += 1;
    else found.set(keyOf(workload), { workload, flows: 1 });
  }
  return [...found.values()].sort((a, b) => b.flows - a.flows);
}

/** How a node's flows to one other travel. */
export interface Way {
  node: string;
  name: string | null;
  path: FlowRow["path"];
  last_ms: number;
  rtt_us: number | null;
  /** Of the row that says so. */
  row: FlowRow;
}

/** The newest word about the path to each peer, by name. */
export function ways(rows: readonly FlowRow[], node: string): Way[] {
  const found = new Map<string, Way>();
  for (const row of rows) {
    if (row.reporter !== node || row.path === "unknown") continue;
    const peer = row.outbound ? row.to : row.from;
    if (!peer.node) continue;
    const known = found.get(peer.node);
    if (known && known.last_ms >= row.last_ms) continue;
    const { path, last_ms, rtt_us } = row;
    found.set(peer.node, { node: peer.node, name: peer.name, path, last_ms, rtt_us, row });
  }
  return [...found.values()].sort((a, b) =>
    (a.name ?? a.node).localeCompare(b.name ?? b.node, "en", { numeric: true }),
  );
}
