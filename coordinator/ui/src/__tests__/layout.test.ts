import { describe, expect, test } from "vitest";
import { type Group, groups, links } from "../map/graph";
import { drop, join, overlaps, type Rect } from "../map/geometry";
import { arrange } from "../map/layout";
import { measure } from "../map/measure";
import { plan, type Spots } from "../map/plan";
import { fitted, sighted, zoomed } from "../map/camera";
import { route } from "../map/curves";
import { nextSlot, slotsOf } from "../map/places";
import type { FlowMap } from "../api/types";
import type { Level } from "../state/url";
import { mapOf } from "./world";

function planOf(map: FlowMap, level: Level): { list: Group[]; spots: Spots } {
  const list = groups(map, "tag");
  const pulls = links(map, list, () => 0).map((l) => ({ from: l.fromGroup, to: l.toGroup, weight: 1 }));
  const sizes = list.map((g) => {
    const { w, h } = measure(g, level);
    return { key: g.key, w, h };
  });
  return { list, spots: plan(sizes, pulls, 1.7) };
}

function apart(rects: readonly Rect[]) {
  for (const [i, a] of rects.entries()) for (const b of rects.slice(i + 1)) if (overlaps(a, b)) return false;
  return true;
}

describe.each([10, 100, 500])("a network of %i services", (size) => {
  const map = mapOf(size);
  const { list, spots } = planOf(map, 1);

  test("every group has a place and none lies on another", () => {
    expect(Object.keys(spots).sort()).toEqual(list.map((g) => g.key).sort());
    expect(apart(Object.values(spots))).toBe(true);
  });

  test("the same network gives the same picture, in whatever order it is told", () => {
    const shuffled = {
      ...map,
      nodes: [...map.nodes].reverse(),
      services: [...map.services].reverse(),
      edges: [...map.edges].reverse(),
    };
    expect(planOf(shuffled, 1).spots).toEqual(spots);
  });

  test("traffic, news and departures move nobody", () => {
    const before = arrange(list, () => 1, spots, null);
    const changed: FlowMap = {
      ...map,
      edges: map.edges.filter((_, i) => i % 3 > 0).map((e) => ({ ...e, bytes_out: e.bytes_out * 7 })),
      services: [
        ...map.services,
        ...list
          .filter((g) => g.kind === "tag")
          .flatMap((g) => (g.nodes[0] ? [{ name: `new-${g.key}`, ports: ["tcp/1"], nodes: [g.nodes[0].id] }] : [])),
      ],
    };
    const after = arrange(groups(changed, "tag"), () => 1, spots, before);
    for (const [key, box] of after) {
      const was = before.get(key)!;
      expect([box.rect.x, box.rect.y]).toEqual([was.rect.x, was.rect.y]);
    }
    expect(apart([...after.values()].map((b) => b.rect))).toBe(true);
  });

  test("what does not fit is counted, never lost", () => {
    const before = arrange(list, () => 1, spots, null);
    const group = list.find((g) => g.kind === "tag" && g.services.length > 0)!;
    const many = Array.from({ length: 60 }, (_, i) => ({
      name: `extra-${i}`,
      ports: ["tcp/1"],
      nodes: [group.nodes[0]!.id],
    }));
    const after = arrange(groups({ ...map, services: [...map.services, ...many] }, "tag"), () => 1, spots, before).get(
      group.key,
    )!;
    const shown = [...after.slots.keys()].filter((id) => id.startsWith("s\n")).length;
    expect(shown + after.hidden).toBe(group.services.length + 60);
  });

  test("opening a group pushes others aside; closing it brings back the picture", () => {
    const closed = arrange(list, () => 1, spots, null);
    const big = list.reduce((a, b) => (b.nodes.length > a.nodes.length ? b : a)).key;
    const opened = arrange(list, (key) => (key === big ? 2 : 1), spots, closed);
    expect(apart([...opened.values()].map((b) => b.rect))).toBe(true);
    const again = arrange(list, () => 1, spots, opened);
    expect([...again].map(([key, b]) => [key, b.rect])).toEqual([...closed].map(([key, b]) => [key, b.rect]));
  });

  test("all open at once, still none lies on another", () => {
    expect(apart([...arrange(list, () => 2, spots, null).values()].map((b) => b.rect))).toBe(true);
  });

  test("a newcomer stands free, beside those it talks to", () => {
    const rects = Object.values(spots);
    const friend = rects[0]!;
    const size = { w: 204, h: 90 };
    const at = join(size, [friend], rects);
    expect(rects.some((r) => overlaps({ ...at, ...size }, r))).toBe(false);
    const far = (r: Rect) => Math.hypot(at.x + size.w / 2 - r.x - r.w / 2, at.y + size.h / 2 - r.y - r.h / 2);
    expect(far(friend)).toBeLessThan(1200);
  });
});

test("slots of a group lie inside it and apart from one another", () => {
  for (const level of [0, 1, 2] as Level[]) {
    for (const group of groups(mapOf(100), "tag")) {
      const m = measure(group, level);
      const rects = [...m.slots.values()];
      for (const r of rects) expect(r.x >= 0 && r.y >= 0 && r.x + r.w <= m.w && r.y + r.h <= m.h).toBe(true);
      expect(apart(rects)).toBe(true);
    }
  }
});

test("links begin and end at the borders of their boxes, each at a place of its own", () => {
  const a = { x: 0, y: 0, w: 100, h: 50 };
  const b = { x: 300, y: 100, w: 100, h: 50 };
  const c = { x: 300, y: 0, w: 100, h: 50 };
  const curves = route([
    { id: "1", from: "a", to: "b", a, b, inside: false },
    { id: "2", from: "a", to: "c", a, b: c, inside: false },
  ]);
  const [one, two] = [curves.get("1")!.p, curves.get("2")!.p];
  expect([one[0], one[6], two[0], two[6]]).toEqual([100, 300, 100, 300]);
  // The one that goes up leaves above.
  expect(two[1]).toBeLessThan(one[1]);
  for (const p of [one, two]) expect(p[1] > 0 && p[1] < 50).toBe(true);
});

test("what is dropped lies where it was dropped if there is room, else in the nearest free place", () => {
  const taken = Object.values(planOf(mapOf(100), 1).spots);
  const far = { x: -5000, y: -5000, w: 200, h: 100 };
  expect(drop(far, taken)).toEqual({ x: -5000, y: -5000 });
  for (const r of taken) {
    const rect = { ...r, x: r.x + 30, y: r.y + 20, w: 204 };
    const at = drop(rect, taken);
    expect(taken.some((t) => overlaps({ ...rect, ...at }, t))).toBe(false);
    expect(Math.hypot(at.x - rect.x, at.y - rect.y)).toBeLessThan(1500);
  }
});

test("zooming leaves what is under the pointer where it is; what is in sight moves nothing", () => {
  const view = { x: 40, y: -20, k: 0.8 };
  const nearer = zoomed(view, 1.5, 300, 200);
  expect((300 - nearer.x) / nearer.k).toBeCloseTo((300 - view.x) / view.k);
  const size = { w: 1000, h: 700 };
  const whole = fitted({ x: 0, y: 0, w: 3000, h: 900 }, size);
  expect(sighted(whole, { x: 100, y: 100, w: 50, h: 50 }, size)).toBeNull();
  const rect = { x: 5000, y: 100, w: 200, h: 100 };
  const moved = sighted(whole, rect, size)!;
  expect(rect.x * moved.k + moved.x).toBeGreaterThanOrEqual(0);
  expect((rect.x + rect.w) * moved.k + moved.x).toBeLessThanOrEqual(size.w);
  expect(sighted(moved, rect, size)).toBeNull();
});

test("arrows go to the box that lies there", () => {
  const { list, spots } = planOf(mapOf(100), 0);
  const slots = slotsOf(arrange(list, () => 0, spots, null));
  for (const [id, a] of slots) {
    const right = nextSlot(slots, id, [1, 0]);
    if (right) expect(slots.get(right)!.x).toBeGreaterThan(a.x);
    const up = nextSlot(slots, id, [0, -1]);
    if (up) expect(slots.get(up)!.y).toBeLessThan(a.y);
  }
});
