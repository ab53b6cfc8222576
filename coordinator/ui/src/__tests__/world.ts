// Maps for tests, from the mock's synthetic network.
// @ts-expect-error plain JavaScript
import { edgeIn, keyOf, makeWorld, quiet, sums } from "../../mock/world.mjs";
import type { Edge, EdgeDelta, FlowMap } from "../api/types";

export const NOW = 1_790_000_000;

export interface World {
  edges: unknown[];
  nodes: Record<string, never>[];
}

export function mapOf(size: number, from = NOW - 300, at = NOW, seed = 7, now = NOW): FlowMap {
  const w = makeWorld({ size, seed, now });
  return {
    at,
    from,
    resolution: 1,
    live: true,
    revision: 1,
    generation: 1,
    observe: false,
    complete_from: from,
    complete_until: at,
    recorded_since: from,
    lost: { declared: 0, rejected: 0, skipped: 0, lost_at_end: 0, untold_ends: 0 },
    extent: {
      shown: 0,
      total: 0,
      limit: 100_000,
      left_out: { flows: 0, tries: 0, packets_out: 0, bytes_out: 0, packets_back: 0, bytes_back: 0 },
    },
    nodes: w.nodes.map((n: Record<string, unknown>) => ({
      id: n.id,
      name: n.name,
      tags: n.tags,
      site: n.site,
      addresses: [n.v4, n.v6],
      online: n.online,
      enforces: 1,
      behind_since: null,
      revoked: null,
    })),
    services: w.services.map((s: Record<string, unknown>) => ({
      name: s.name,
      ports: s.ports,
      nodes: s.nodes,
      addresses: s.addresses,
    })),
    edges: w.edges.map((e: unknown) => edgeIn(e, from, at)).filter(Boolean) as Edge[],
  };
}

export function second(size: number, at: number, seed = 7, now = NOW): EdgeDelta[] {
  const w = makeWorld({ size, seed, now });
  return w.edges.map((e: unknown) => ({ ...keyOf(e), ...sums(e, at, at + 1) })).filter((d: EdgeDelta) => !quiet(d));
}
