// The laws of what stands where, over the life of a network: readable at first sight, and at rest however nodes come and go.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Edge, FlowMap, MapNode } from "../api/types";
import { farness, fitted } from "../map/camera";
import { bounds, overlaps } from "../map/geometry";
import { type Group, groups } from "../map/graph";
import type { Box } from "../map/layout";
import { Places } from "../map/places";
import { GROUPINGS, type Grouping } from "../state/url";
import { mapOf } from "./world";

/** A window on a desk. */
const ROOM = { w: 1260, h: 780 };
const css = readFileSync(join(import.meta.dirname, "../style/map.css"), "utf8");

beforeEach(() => {
  const kept = new Map<string, string>();
  vi.stubGlobal("localStorage", {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
    removeItem: (key: string) => void kept.delete(key),
  });
});
afterEach(() => vi.unstubAllGlobals());

const look = (map: FlowMap, by: Grouping, room = ROOM) => {
  const list = groups(map, by);
  const places = Places.of("net", by, map, list, room);
  return { places, boxes: places.arrange(map, list, {}) };
};
const again = (places: Places, map: FlowMap, by: Grouping) => places.arrange(map, groups(map, by), {});

function meet(boxes: ReadonlyMap<string, Box>): string[] {
  const all = [...boxes.values()];
  return all.flatMap((a, i) =>
    all.slice(i + 1).flatMap((b) => (overlaps(a.rect, b.rect) ? [`${a.group.key} lies on ${b.group.key}`] : [])),
  );
}

/** How far boxes that are in both pictures have moved. */
function moved(before: ReadonlyMap<string, Box>, after: ReadonlyMap<string, Box>): string[] {
  return [...before].flatMap(([key, { rect }]) => {
    const now = after.get(key)?.rect;
    return !now || (now.x === rect.x && now.y === rect.y) ? [] : [`${key} by ${now.x - rect.x}, ${now.y - rect.y}`];
  });
}

const touches = (id: string) => (e: Edge) => e.from.node === id || e.to.node === id;
const without = (map: FlowMap, id: string): FlowMap => ({
  ...map,
  nodes: map.nodes.filter((n) => n.id !== id),
  edges: map.edges.filter((e) => !touches(id)(e)),
  services: map.services.map((s) => ({ ...s, nodes: s.nodes.filter((n) => n !== id) })),
});

/** A node that nobody has seen, with a role of its own or that of another, which talks to `friend`. */
function joined(map: FlowMap, tags: string[], friend: MapNode): FlowMap {
  const node: MapNode = { ...friend, id: "f".repeat(32), name: "new-1", tags };
  const like = map.edges.find(touches(friend.id))!;
  const edge: Edge = {
    ...like,
    id: "fresh",
    from: { node: node.id, name: node.name, address: null },
    to: { node: friend.id, name: friend.name, address: null },
  };
  return { ...map, nodes: [...map.nodes, node], edges: [...map.edges, edge] };
}

/** Pixels of a rule in the style sheet. */
function font(selector: string): number {
  const rule = new RegExp(`${selector.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")} \\{[^}]*?font-size: ([0-9.]+)px`, "s");
  const found = rule.exec(css);
  if (!found) throw new Error(`no rule ${selector} with a font size`);
  return Number(found[1]);
}
const FAR = '.world:not([data-far="no"]) .small';
/** Of a closed box, by how far away one is: its name, and what stands below. */
const SIZES = {
  no: { name: 13, count: font(".group-count") },
  yes: { name: font(`${FAR} .group-name`), count: font(`${FAR} .group-count`) },
  very: { name: font('.world[data-far="very"] .small .group-name'), count: null },
};
/** A line of this font is about so wide: DejaVu Sans, the widest of the stack's common fonts. */
const wide = (text: string, px: number) => text.length * px * 0.6;
const PADDING = 2 * 12 + 2;

const isSmall = (box: Box) => [...box.slots].some(([id, r]) => id.startsWith("g\n") && r.h === box.rect.h);
const underName = (g: Group) => `${g.nodes.length} nodes · ${g.services.length} services`;

describe.each([10, 100, 500])("%i services", (size) => {
  const map = mapOf(size);

  describe.each(GROUPINGS)("by %s", (by) => {
    test("no two boxes overlap, and the same network gives the same picture", () => {
      const { boxes } = look(map, by);
      expect(boxes.size).toBe(groups(map, by).length);
      expect(meet(boxes)).toEqual([]);
      vi.unstubAllGlobals();
      const shuffled = { ...map, nodes: [...map.nodes].reverse(), edges: [...map.edges].reverse() };
      expect([...look(shuffled, by).boxes].map(([k, b]) => [k, b.rect])).toEqual(
        [...boxes].map(([k, b]) => [k, b.rect]),
      );
    });

    test("whoever leaves moves nobody, and finds its place again", () => {
      const { places, boxes } = look(map, by);
      for (const node of [map.nodes[0]!, map.nodes.at(-1)!, map.nodes[Math.floor(map.nodes.length / 2)]!]) {
        const after = again(places, without(map, node.id), by);
        expect(moved(boxes, after)).toEqual([]);
        expect(meet(after)).toEqual([]);
        const back = again(places, map, by);
        expect(moved(boxes, back)).toEqual([]);
        expect(back.size).toBe(boxes.size);
      }
    });

    test("whoever comes moves nobody, stands free and near to whom it talks to", () => {
      const friend = map.nodes.find((n) => map.edges.some(touches(n.id)))!;
      for (const tags of [["a-new-role"], friend.tags]) {
        vi.unstubAllGlobals();
        const { places, boxes } = look(map, by);
        const after = again(places, joined(map, tags, friend), by);
        expect(moved(boxes, after)).toEqual([]);
        expect(meet(after)).toEqual([]);
        for (const [key, box] of after) {
          if (boxes.has(key)) continue;
          const to = [...boxes.values()].find((b) => b.group.nodes.some((n) => n.id === friend.id))!.rect;
          const [dx, dy] = [box.rect.x - to.x, box.rect.y - to.y];
          const whole = bounds([...boxes.values()].map((b) => b.rect));
          expect(Math.hypot(dx, dy), `${key} stands far away`).toBeLessThan(Math.max(900, whole.w / 2));
        }
      }
    });

    test("another visit finds everything where it was, though nodes went and came meanwhile", () => {
      const { boxes } = look(map, by);
      const friend = map.nodes.find((n) => map.edges.some(touches(n.id)))!;
      const later = look(joined(without(map, map.nodes.at(-1)!.id), ["a-new-role"], friend), by, { w: 900, h: 600 });
      expect(moved(boxes, later.boxes)).toEqual([]);
      expect(meet(later.boxes)).toEqual([]);
    });
  });

  test("the first picture is readable: letters are large enough, and labels are whole", () => {
    const { boxes } = look(map, "tag");
    const { k } = fitted(bounds([...boxes.values()].map((b) => b.rect)), ROOM);
    const { name, count } = SIZES[farness(k)];
    expect(name * k, "the name of a group, pixels").toBeGreaterThanOrEqual(11);
    if (count !== null) expect(count * k, "what stands below it, pixels").toBeGreaterThanOrEqual(9);
    const small = [...boxes.values()].filter(isSmall);
    if (size >= 100) expect(small.length, "there are closed boxes to read").toBeGreaterThan(5);
    const cut = small.filter((b) => wide(b.group.label, name) > b.rect.w - PADDING - 18);
    expect(cut.map((b) => b.group.label)).toEqual([]);
    if (count === null) return;
    const below = small.filter(
      (b) => b.group.kind === "tag" && wide(underName(b.group), count * 0.94) > b.rect.w - PADDING,
    );
    expect(below.map((b) => underName(b.group))).toEqual([]);
  });
});
