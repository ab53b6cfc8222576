// Rows of flows by their identity, so that a selected one can be shown however it came.
import type { FlowPoint, FlowRow, NodeRow, OtherEnd, Workload } from "../api/types";
import { Store } from "../state/store";
import { csvCell } from "../format";
import { ends } from "../workload";

export const flowKey = (r: FlowRow): string => `${r.reporter}.${r.boot}.${r.flow}`;
export const flowCache = new Store<ReadonlyMap<string, FlowRow>>(new Map());

/** Is this end a host behind the node, and not the node itself? Not so where nothing is known of the node. */
export function isBehind(end: FlowPoint, nodes: readonly NodeRow[] | null): boolean {
  const node = end.node === null ? undefined : nodes?.find((n) => n.id === end.node);
  return node !== undefined && node.v4 !== end.address && node.v6 !== end.address;
}

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

/**
 * Older rows below those that are known. Of the live list the windows that came since are known already: they are added to the
 * row they belong to, which is on the older page as it was when the list was made.
 */
export const withOlder = (known: readonly FlowRow[], older: readonly FlowRow[], isLive: boolean): FlowRow[] =>
  isLive ? mergeFlows(older, known) : [...known, ...older];

/** Rows that come while the list they belong to is under way: they are newer than it, or in it. */
export class Arriving {
  #early: FlowRow[] = [];
  #isListed = false;

  /** True: the list is there, and the rows go to it. */
  take(rows: readonly FlowRow[]): boolean {
    if (!this.#isListed) this.#early.push(...rows);
    return this.#isListed;
  }

  /** The list has come: it, and what came meanwhile. */
  listed(list: readonly FlowRow[]): FlowRow[] {
    const rows = this.#early.length ? mergeFlows(list, this.#early) : [...list];
    this.#isListed = true;
    this.#early = [];
    return rows;
  }
}

/**
 * Both ends report a flow: shown is what its opener says, else what the other end says. What the other end says besides (its
 * process, mostly) goes with it, also where the coordinator has not yet put the two together: events come from each alone.
 */
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
  const echoes = new Map<FlowRow, FlowRow>();
  const shown = rows.filter((r) => {
    const own = r.outbound ? undefined : opened.get(tuple(r))?.find((o) => together(o, r));
    if (own) echoes.set(own, r);
    return !own;
  });
  return shown.map((r) => {
    const echo = r.other ? undefined : echoes.get(r);
    return echo ? { ...r, other: otherOf(echo) } : r;
  });
}

const otherOf = (r: FlowRow): OtherEnd => ({
  reporter: r.reporter,
  packets_out: r.packets_out,
  bytes_out: r.bytes_out,
  packets_back: r.packets_back,
  bytes_back: r.bytes_back,
  end: r.end,
  workload: r.workload,
});

const known = (a: number | null, b: number | null) => (a === null || b === null ? (a ?? b) : a + b);

function sum(old: FlowRow, row: FlowRow): FlowRow {
  return {
    ...row,
    packets_out: old.packets_out + row.packets_out,
    bytes_out: old.bytes_out + row.bytes_out,
    packets_back: old.packets_back + row.packets_back,
    bytes_back: old.bytes_back + row.bytes_back,
    started_ms: Math.min(old.started_ms, row.started_ms),
    count: row.end === "refused" ? old.count + row.count : row.count,
    first: old.first || row.first,
    // A later window need not repeat what is known.
    workload: row.workload ?? old.workload,
    rtt_us: row.rtt_us ?? old.rtt_us,
    retransmissions: known(old.retransmissions, row.retransmissions),
    other: row.other ?? old.other,
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
  "path",
  "rtt_us",
  "retransmissions",
  "from_process",
  "from_executable",
  "from_user",
  "from_unit",
  "from_container",
  "to_process",
  "to_executable",
  "to_user",
  "to_unit",
  "to_container",
] as const;

const whose = (w: Workload | null) =>
  w ? [w.process, w.executable, w.user, w.unit, w.container] : ["", "", "", "", ""];

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
    r.path,
    r.rtt_us,
    r.retransmissions,
    ...whose(ends(r).from),
    ...whose(ends(r).to),
  ];
  return [COLUMNS.join(","), ...rows.map((r) => cells(r).map(csvCell).join(","))].join("\r\n") + "\r\n";
}
