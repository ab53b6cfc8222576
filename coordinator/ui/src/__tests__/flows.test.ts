import { expect, test } from "vitest";
import type { FlowRow, NodeRow, Workload } from "../api/types";
import { atEnd, doings, ends, ways, words } from "../workload";
import { Arriving, csv, flowKey, isBehind, mergeFlows, MOST, oneEach, withOlder } from "../pages/flows-data";

const row = (flow: number, cursor: number, more: Partial<FlowRow> = {}): FlowRow => ({
  cursor,
  received: 1,
  reporter: "aa",
  boot: 1,
  flow,
  outbound: true,
  from: { node: null, name: "web", address: "100.64.0.1", port: 1 },
  to: { node: null, name: "db", address: "100.64.0.2", port: 2 },
  protocol: 6,
  verdict: "allow",
  grant: "g",
  service: "db",
  generation: 1,
  packets_out: 1,
  bytes_out: 10,
  packets_back: 1,
  bytes_back: 20,
  started_ms: 1000 * flow,
  last_ms: 1000 * cursor,
  end: "open",
  count: 1,
  first: true,
  workload: null,
  rtt_us: null,
  retransmissions: null,
  path: "unknown",
  other: null,
  mismatch: null,
  ...more,
});

test("a later window of a flow is added to it, and it comes first", () => {
  const rows = mergeFlows([row(1, 1), row(2, 2)], [row(1, 3)]);
  expect(rows.map((r) => [r.flow, r.bytes_out, r.started_ms, r.last_ms])).toEqual([
    [1, 20, 1000, 3000],
    [2, 10, 2000, 2000],
  ]);
});
test("a row that comes twice counts once", () => expect(mergeFlows([row(1, 1)], [row(1, 1)])).toEqual([row(1, 1)]));
test("rows that come while the list is under way are neither lost nor counted twice", () => {
  const arriving = new Arriving();
  // The list has the windows 4 and 5 of flow 1 already; 6 came after it was made, and so did flow 2.
  expect(arriving.take([row(1, 5), row(1, 6), row(2, 7)])).toBe(false);
  const rows = arriving.listed([row(1, 5, { bytes_out: 20 }), row(3, 3)]);
  expect(rows.map((r) => [r.flow, r.bytes_out])).toEqual([
    [2, 10],
    [1, 30],
    [3, 10],
  ]);
  expect(arriving.take([row(2, 8)])).toBe(true);
});
test("an older page of the live list doubles no row and loses no byte of what came meanwhile", () => {
  // Flow 1 was on no page yet when its windows 8 and 9 came; its older windows have 50 bytes.
  const known = mergeFlows([row(3, 7)], [row(1, 8), row(1, 9)]);
  const older = [row(2, 5), row(1, 4, { bytes_out: 50, started_ms: 500, workload: curl })];
  const once = withOlder(known, older, true);
  const seen = (rows: FlowRow[]) => rows.map((r) => [r.flow, r.cursor, r.bytes_out, r.started_ms]);
  expect(seen(once)).toEqual([
    [1, 9, 70, 500],
    [3, 7, 10, 3000],
    [2, 5, 10, 2000],
  ]);
  expect(once[0]!.workload).toEqual(curl);
  expect(seen(mergeFlows(once, [row(1, 10)]))[0]).toEqual([1, 10, 80, 500]);
  // The past stands still: its pages follow each other in their own order.
  expect(seen(withOlder([row(3, 7)], [row(1, 4), row(2, 5)], false)).map(([flow]) => flow)).toEqual([3, 1, 2]);
});
test("there is an end to what is kept, and the newest are kept", () => {
  const rows = mergeFlows(
    [],
    Array.from({ length: MOST + 50 }, (_, i) => row(i, i)),
  );
  expect(rows.length).toBe(MOST);
  expect(flowKey(rows[0]!)).toBe(`aa.1.${MOST + 49}`);
});
test("an export has a line for each row, and no name is a formula or a second cell", () => {
  const text = csv([row(1, 1, { service: "=cmd()", grant: 'a",b' })]);
  const lines = text.trimEnd().split("\r\n");
  expect(lines.length).toBe(2);
  expect(lines[1]).toContain("'=cmd()");
  expect(lines[1]).toContain('"a"",b"');
});

test("a flow that both ends report is shown once, as its opener says; a port used again is another flow", () => {
  const opener = row(1, 10, { started_ms: 1000, last_ms: 5000, bytes_out: 7 });
  const other = row(9, 11, { reporter: "bb", outbound: false, started_ms: 1003, last_ms: 5001 });
  const later = row(10, 12, { reporter: "bb", outbound: false, started_ms: 60_000, last_ms: 61_000 });
  expect(oneEach([later, other, opener]).map((r) => r.flow)).toEqual([later.flow, opener.flow]);
  expect(oneEach([other])).toEqual([other]);
});

const process = (name: string, more: Partial<Workload> = {}): Workload => ({
  process: name,
  executable: `/usr/sbin/${name}`,
  user: "",
  unit: "",
  container: "",
  ...more,
});
const [curl, nginx] = [process("curl", { user: "root" }), process("nginx", { unit: "nginx.service" })];
const web = { node: "aa", name: "web-1", address: "100.64.0.1", port: 1 };
const shop = { node: "bb", name: "shop-1", address: "100.64.0.2", port: 2 };
const opened = row(1, 10, { from: web, to: shop, service: "shop", workload: curl, started_ms: 1000, last_ms: 5000 });
const answered = row(9, 11, {
  ...{ from: web, to: shop, service: "shop", reporter: "bb", outbound: false, workload: nginx },
  ...{ started_ms: 1003, last_ms: 5001 },
});

test("events come from each end alone: the two processes of a flow are put together", () => {
  const [shown] = oneEach([answered, opened]);
  expect(ends(shown!)).toEqual({ from: curl, to: nginx });
  expect(ends(answered)).toEqual({ from: null, to: nginx });
  // What the coordinator has put together itself is left as it is.
  const known = { ...opened, other: { ...shown!.other!, workload: null } };
  expect(ends(oneEach([answered, known])[0]!)).toEqual({ from: curl, to: null });
});

test("a later window that does not know the process forgets none", () => {
  const again = { from: web, to: shop, workload: null };
  const [later] = mergeFlows([opened], [row(1, 12, { ...again, rtt_us: 7, retransmissions: 2 })]);
  expect([later!.workload, later!.rtt_us, later!.retransmissions]).toEqual([curl, 7, 2]);
  const [last] = mergeFlows([later!], [row(1, 13, { ...again, retransmissions: 3 })]);
  expect([last!.rtt_us, last!.retransmissions], "the round trip it had, and all that was sent again").toEqual([7, 5]);
});

test("a process is said in words, and of nothing known nothing is said", () => {
  expect(words(curl)).toBe("curl (root)");
  expect(words(process("nginx", { user: "www-data", unit: "a.service", container: "docker:12" }))).toBe(
    "nginx (www-data) in docker:12",
  );
  expect([words(null), words(process("", { executable: "" }))]).toEqual([null, null]);
});

test("a node's processes are told by its flows: what each opens and answers for, the unknown last", () => {
  const silent = [20, 21, 22].map((n) => row(n, n, { from: shop, to: web, service: null, reporter: "bb" }));
  const found = doings(oneEach([opened, answered, ...silent]), "bb");
  expect(found.map((d) => [words(d.workload), d.flows, d.opens, d.serves])).toEqual([
    ["nginx in nginx.service", 1, [], ["shop"]],
    [null, 3, ["web-1"], []],
  ]);
  expect(doings([opened], "cc")).toEqual([]);
});

test("the processes at an end of an edge are counted", () => {
  const again = row(2, 20, { from: web, to: shop, workload: curl });
  expect(atEnd([opened, again], "from")).toEqual([{ workload: curl, flows: 2 }]);
  expect(atEnd([opened, again], "to")).toEqual([]);
});

test("a path is what the node itself said last; another's word about it does not count", () => {
  const old = { ...opened, path: "relayed" as const };
  const now = { ...opened, flow: 2, path: "direct" as const, last_ms: 9000, rtt_us: 1200 };
  const told = ways([old, now, { ...answered, path: "relayed" as const }], "aa");
  expect(told.map((w) => [w.name, w.path, w.rtt_us])).toEqual([["shop-1", "direct", 1200]]);
  expect(ways([opened], "aa"), "not known is not a path").toEqual([]);
});

test("an export says whose a flow is", () => {
  const [head, line] = csv(oneEach([opened, answered])).split("\r\n");
  const cells = Object.fromEntries(head!.split(",").map((name, i) => [name, line!.split(",")[i]]));
  expect([cells.from_process, cells.from_user, cells.to_process, cells.to_unit]).toEqual([
    "curl",
    "root",
    "nginx",
    "nginx.service",
  ]);
});

test("an end is behind a node if it has none of that node's addresses, and nothing is said of a node that is not known", () => {
  const node = { id: "gw", v4: "100.64.0.9", v6: "fd00::9" } as NodeRow;
  const end = (address: string, of: string | null = "gw") => ({ node: of, name: "gw", address, port: 80 });
  expect(isBehind(end("192.168.10.5"), [node])).toBe(true);
  expect(isBehind(end("100.64.0.9"), [node]) || isBehind(end("fd00::9"), [node])).toBe(false);
  expect(isBehind(end("192.168.10.5", null), [node]) || isBehind(end("192.168.10.5"), [])).toBe(false);
  expect(isBehind(end("192.168.10.5"), null)).toBe(false);
});
