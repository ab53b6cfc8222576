import { describe, expect, test } from "vitest";
import { aim, between, covers, gatewaysInUse, groups, links, width } from "../map/graph";
import { chosen, linkIdOf, matching, selOfLink } from "../map/select";
import { GROUPINGS, type Level } from "../state/url";
import { mapOf } from "./world";

const map = mapOf(100);
const total = (list: readonly { bytes_out: number; bytes_back: number; tries: number }[]) =>
  list.reduce((a, e) => a + e.bytes_out + e.bytes_back + e.tries, 0);

describe.each(GROUPINGS)("grouped by %s", (by) => {
  const list = groups(map, by);
  test("every node stands in one group", () => {
    expect(list.flatMap((g) => g.nodes.map((n) => n.id)).sort()).toEqual(map.nodes.map((n) => n.id).sort());
  });
  test.each([0, 1, 2] as Level[])("at level %i no edge is lost and none is counted twice", (level) => {
    const made = links(map, list, () => level);
    expect(made.flatMap((l) => l.edges.map((e) => e.id)).sort()).toEqual(map.edges.map((e) => e.id).sort());
    expect(made.reduce((a, l) => a + l.bytes + l.tries, 0)).toBe(total(map.edges));
  });
  test("mixed levels lose none either", () => {
    const made = links(map, list, (key) => (key.length % 3) as Level);
    expect(made.flatMap((l) => l.edges).length).toBe(map.edges.length);
  });
  test("a link is found again by its address", () => {
    for (const link of links(map, list, () => 1)) {
      const sel = selOfLink(link);
      expect([...(chosen(sel, [link]) ?? [])]).toEqual([link.id]);
      if (!sel.startsWith("link:")) continue;
      const found = between(map, list, linkIdOf(sel)!);
      expect(found?.edges.map((e) => e.id).sort()).toEqual(link.edges.map((e) => e.id).sort());
    }
  });
});

test("verdicts are never mixed in one link", () => {
  for (const link of links(map, groups(map, "tag"), () => 0))
    expect(new Set(link.edges.map((e) => e.verdict)).size).toBe(1);
});

test("width grows with bytes, within bounds", () => {
  const widths = [0, 1, 1e3, 1e6, 1e9, 1e12, 1e18].map(width);
  expect([...widths].sort((a, b) => a - b)).toEqual(widths);
  expect(Math.max(...widths)).toBeLessThanOrEqual(4.5);
});

test("search finds by service, node, tag, port and grant, and nothing else", () => {
  const all = links(map, groups(map, "tag"), () => 1);
  const tags = (id: string) => map.nodes.find((n) => n.id === id)?.tags.join(" ") ?? "";
  expect(matching("", all, tags)).toBeNull();
  expect(matching("no-such-thing", all, tags)?.size).toBe(0);
  expect(matching("checkout-db", all, tags)?.size).toBeGreaterThan(0);
});

test("a refusal whose service is not known belongs to what is offered there, or to nothing", () => {
  const edge = map.edges.find((e) => e.service !== null && e.protocol === 6)!;
  expect(aim({ ...edge, service: null }, map.services)).toBe(edge.service);
  expect(aim({ ...edge, service: null, port: 1 }, map.services)).toBeNull();
  expect(aim({ ...edge, service: null, protocol: 17 }, map.services)).toBeNull();
});

test("ports are read as a policy writes them", () => {
  expect([
    covers("tcp/443", 6, 443),
    covers("tcp/9000-9010", 6, 9005),
    covers("tcp/9000-9010", 6, 9011),
    covers("udp/53", 6, 53),
    covers("icmp/echo", 58, 0),
    covers("proto/132", 132, 0),
  ]).toEqual([true, true, false, false, true, true]);
});

test("hosts behind gateways: a refusal at the gateway itself is not theirs, and who goes by whom is what passed", () => {
  const shop = mapOf(10);
  const edge = shop.edges.find((e) => e.service === "cache" && e.verdict === "allow")!;
  const own = shop.services.map((s) => ({ ...s, addresses: undefined }));
  expect(aim({ ...edge, service: null }, own)).toBe("cache");
  expect(aim({ ...edge, service: null }, shop.services)).toBeNull();
  const uses = gatewaysInUse(shop).map((u) => `${u.service.name} ${u.gateway} ${u.user}`);
  const passed = shop.edges.filter((e) => e.service === "cache" && e.verdict === "allow");
  expect(uses).toEqual([...new Set(passed.map((e) => `cache ${e.to.node} ${e.from.node}`))].sort());
  expect(gatewaysInUse({ ...shop, edges: shop.edges.map((e) => ({ ...e, verdict: "deny" as const })) })).toEqual([]);
  expect(
    groups(shop, "tag")
      .flatMap((g) => g.services.filter((s) => s.addresses.length))
      .map((s) => s.name),
  ).toEqual(["cache"]);
});
