// A map that goes on: seconds that arrive are added to what is known. Nothing already added is added twice.
import type { Edge, EdgeDelta, FlowMap } from "../api/types";

/** A map with the seconds it has taken since it was loaded. */
export interface LiveMap {
  map: FlowMap;
  byId: Map<string, Edge>;
  /** First second that is not yet added. */
  next: number;
  /** What each edge carried in the newest second that it was heard of. */
  pulse: Map<string, { at: number; bytes: number; tries: number }>;
}

/** A coarse map ends at a full minute or hour that is still to come: what it holds, it holds until `told`. */
export function begin(map: FlowMap, told: number = map.at): LiveMap {
  const next = map.resolution === 1 ? map.at : Math.min(map.at, told);
  return { map, byId: new Map(map.edges.map((edge) => [edge.id, edge])), next, pulse: new Map() };
}

/** The map with one more second. A second that the map has already is ignored. */
export function add(live: LiveMap, at: number, deltas: readonly EdgeDelta[]): LiveMap {
  if (at < live.next) return live;
  const byId = new Map(live.byId);
  const pulse = new Map(live.pulse);
  for (const delta of deltas) {
    byId.set(delta.id, join(byId.get(delta.id), delta, at));
    pulse.set(delta.id, { at, bytes: delta.bytes_out + delta.bytes_back, tries: delta.tries });
  }
  const map: FlowMap = { ...live.map, at: at + 1, edges: [...byId.values()] };
  return { map, byId, next: at + 1, pulse };
}

/** Each end speaks of the segments that it sent itself. */
const both = (a: number | null, b: number | null | undefined): number | null =>
  a === null || b === null || b === undefined ? (a ?? b ?? null) : a + b;

function join(known: Edge | undefined, d: EdgeDelta, at: number): Edge {
  const ms = at * 1000;
  const base: Edge = known ?? {
    ...d,
    flows: 0,
    tries: 0,
    packets_out: 0,
    bytes_out: 0,
    packets_back: 0,
    bytes_back: 0,
    rtt_us: null,
    retransmissions: null,
    first_seen: d.first_seen ?? ms,
    last_seen: d.last_seen ?? ms,
    seen_by: d.seen_by ?? [],
    mismatch: d.mismatch ?? null,
  };
  // The word of who opened it counts; the other end is heard where the opener said nothing.
  const echo =
    known !== undefined && known.seen_by.includes("from") && d.seen_by !== undefined && !d.seen_by.includes("from");
  if (echo)
    return {
      ...known,
      rtt_us: known.rtt_us ?? d.rtt_us ?? null,
      retransmissions: both(known.retransmissions, d.retransmissions),
      last_seen: Math.max(known.last_seen, d.last_seen ?? ms),
      seen_by: [...new Set([...known.seen_by, ...(d.seen_by ?? [])])],
    };
  return {
    ...base,
    flows: base.flows + d.flows,
    tries: base.tries + d.tries,
    packets_out: base.packets_out + d.packets_out,
    bytes_out: base.bytes_out + d.bytes_out,
    packets_back: base.packets_back + d.packets_back,
    bytes_back: base.bytes_back + d.bytes_back,
    // A mean over the stretch: one second more hardly changes it, and the next map tells it anew.
    rtt_us: base.rtt_us ?? d.rtt_us ?? null,
    retransmissions: both(base.retransmissions, d.retransmissions),
    last_seen: Math.max(base.last_seen, d.last_seen ?? ms),
    seen_by: [...new Set([...base.seen_by, ...(d.seen_by ?? [])])],
    mismatch: d.mismatch === undefined ? base.mismatch : d.mismatch,
  };
}
