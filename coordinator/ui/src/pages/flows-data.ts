// Rows of flows by their identity, so that a selected one can be shown however it came.
import type { FlowRow } from "../api/types";
import { Store } from "../state/store";
import { csvCell } from "../format";

export const flowKey = (r: FlowRow): string => `${r.reporter}.${r.boot}.${r.flow}`;
export const flowCache = new Store<ReadonlyMap<string, FlowRow>>(new Map());

/** More than this nobody reads; older rows are asked of the history. */
export const MOST = 3000;

/** New windows of known flows are added to them; unknown ones come first. */
export function mergeFlows(known: readonly FlowRow[], fresh: readonly FlowRow[]): FlowRow[] {
  const byKey = new Map(known.map((r) => [flowKey(r), r]));
  for (const row of fresh) {
    const key = flowKey(row);
    const old = byKey.get(key);
    byKey.set(key, old && old.cursor < row.cursor ? sum(old, row) : (old ?? row));
  }
  return [...byKey.values()].sort((a, b) => b.last_ms - a.last_ms || b.cursor - a.cursor).slice(0, MOST);
}

/** Both ends report a flow: shown is what its opener says, else what the other end says. */
export function oneEach(rows: readonly FlowRow[]): FlowRow[] {
  const tuple = (r: FlowRow) =>
    `${r.protocol} ${r.from.address} ${r.from.port} ${r.to.address} ${r.to.port} ${r.verdict}`;
  const opened = new Map<string, FlowRow[]>();
  for (const r of rows) {
    if (!r.outbound) continue;
    const list = opened.get(tuple(r));
    if (list) list.push(r);
    else opened.set(tuple(r), [r]);
  }
  // Ports are used again, and clocks differ: the two must have lived at the same time, give or take.
  const SLACK = 2000;
  const together = (a: FlowRow, b: FlowRow) => a.started_ms <= b.last_ms + SLACK && b.started_ms <= a.last_ms + SLACK;
  return rows.filter((r) => r.outbound || !opened.get(tuple(r))?.some((o) => together(o, r)));
}

function sum(old: FlowRow, row: FlowRow): FlowRow {
  return {
    ...row,
    packets_out: old.packets_out + row.packets_out,
    bytes_out: old.bytes_out + row.bytes_out,
    packets_back: old.packets_back + row.packets_back,
    bytes_back: old.bytes_back + row.bytes_back,
    started_ms: Math.min(old.started_ms, row.started_ms),
    count: row.end === "refused" ? old.count + row.count : row.count,
  };
}

const COLUMNS = [
  "last",
  "started",
  "from",
  "from_address",
  "from_port",
  "to",
  "to_address",
  "to_port",
  "protocol",
  "service",
  "verdict",
  "grant",
  "generation",
  "bytes_out",
  "bytes_back",
  "packets_out",
  "packets_back",
  "end",
  "count",
] as const;

export function csv(rows: readonly FlowRow[]): string {
  const cells = (r: FlowRow) => [
    new Date(r.last_ms).toISOString(),
    new Date(r.started_ms).toISOString(),
    r.from.name,
    r.from.address,
    r.from.port,
    r.to.name,
    r.to.address,
    r.to.port,
    r.protocol,
    r.service,
    r.verdict,
    r.grant,
    r.generation,
    r.bytes_out,
    r.bytes_back,
    r.packets_out,
    r.packets_back,
    r.end,
    r.count,
  ];
  return [COLUMNS.join(","), ...rows.map((r) => cells(r).map(csvCell).join(","))].join("\r\n") + "\r\n";
}
