import { expect, test } from "vitest";
import type { FlowRow } from "../api/types";
import { csv, flowKey, mergeFlows, MOST, oneEach } from "../pages/flows-data";

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
  expect(oneEach([later, other, opener])).toEqual([later, opener]);
  expect(oneEach([other])).toEqual([other]);
});
