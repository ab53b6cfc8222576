import { expect, test } from "vitest";
import { add, begin } from "../map/merge";
import { mapOf, NOW, second } from "./world";

test("a map and the seconds after it are the map of the longer time", () => {
  let live = begin(mapOf(10, NOW - 300, NOW));
  for (let t = NOW; t < NOW + 40; t++) live = add(live, t, second(10, t));
  const whole = new Map(mapOf(10, NOW - 300, NOW + 40).edges.map((e) => [e.id, e]));
  // What appeared meanwhile is there too: both ways.
  expect([...live.byId.keys()].sort()).toEqual([...whole.keys()].sort());
  for (const edge of live.map.edges) {
    const { flows, tries, bytes_out, bytes_back } = whole.get(edge.id)!;
    expect({
      id: edge.id,
      flows: edge.flows,
      tries: edge.tries,
      bytes_out: edge.bytes_out,
      bytes_back: edge.bytes_back,
    }).toEqual({ id: edge.id, flows, tries, bytes_out, bytes_back });
  }
});

test("a second that comes twice, or that the map has already, is added once", () => {
  const map = mapOf(10);
  const first = add(begin(map), NOW, second(10, NOW));
  const twice = add(add(first, NOW, second(10, NOW)), NOW - 1, second(10, NOW - 1));
  expect(twice).toBe(first);
});

test("nobody's map changes under him", () => {
  const map = mapOf(10);
  const before = JSON.stringify(map);
  add(begin(map), NOW, second(10, NOW));
  expect(JSON.stringify(map)).toBe(before);
});

test("what is not known stays not known", () => {
  const map = { ...mapOf(10), edges: [] };
  const one = second(10, NOW)[0]!;
  const edge = add(begin(map), NOW, [one]).map.edges[0]!;
  expect(edge.rtt_us).toBeNull();
  expect(edge.retransmissions).toBeNull();
});

test("what was sent again adds up over both ends; the round trip is the map's until there is another map", () => {
  const map = mapOf(10);
  const edge = map.edges.find((e) => e.seen_by.includes("from") && e.rtt_us !== null && e.retransmissions !== null)!;
  const { first_seen, last_seen, mismatch, ...delta } = edge;
  void [first_seen, last_seen, mismatch];
  for (const end of ["from", "to"] as const) {
    const news = { ...delta, rtt_us: 1, retransmissions: 4, seen_by: [end] };
    const after = add(begin(map), NOW, [news]).byId.get(edge.id)!;
    expect([after.rtt_us, after.retransmissions], end).toEqual([edge.rtt_us, edge.retransmissions! + 4]);
    const silent = add(begin(map), NOW, [{ ...news, rtt_us: null, retransmissions: null }]).byId.get(edge.id)!;
    expect([silent.rtt_us, silent.retransmissions], end).toEqual([edge.rtt_us, edge.retransmissions]);
  }
});

test("what the other end echoes of an opener's flows is not counted again", () => {
  const map = mapOf(10);
  const edge = map.edges.find((e) => e.seen_by.includes("from"))!;
  const { first_seen, last_seen, rtt_us, retransmissions, mismatch, ...delta } = edge;
  void [first_seen, last_seen, rtt_us, retransmissions, mismatch];
  const after = add(begin(map), NOW, [{ ...delta, seen_by: ["to"] }]).byId.get(edge.id)!;
  expect(after.bytes_out).toBe(edge.bytes_out);
  expect(add(begin(map), NOW, [{ ...delta, seen_by: ["from"] }]).byId.get(edge.id)!.bytes_out).toBe(2 * edge.bytes_out);
});

test("a coarse map that ends in the future takes the seconds until then", () => {
  const map = { ...mapOf(10), resolution: 60, at: NOW + 45 };
  const live = add(begin(map, NOW), NOW, second(10, NOW));
  expect(live.next).toBe(NOW + 1);
  expect(live.map.edges.some((e, i) => e.bytes_out > (map.edges[i]?.bytes_out ?? 0))).toBe(true);
});
