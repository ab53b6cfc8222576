// The places of one network and grouping, from the first plan on. What it changes by itself is only who is new.
import type { FlowMap } from "../api/types";
import type { Grouping, Level } from "../state/url";
import { type Group, links } from "./graph";
import { type Rect, bounds, drop, join } from "./geometry";
import { type Box, arrange } from "./layout";
import { measure } from "./measure";
import { type Pull, type Spots, plan } from "./plan";
import { forget, recall, remember } from "./memory";
import type { Size } from "./camera";

/** Smaller than this nobody reads a service's name. */
const LEGIBLE = 0.72;

export interface Slot extends Rect {
  group: string;
}

function pullsOf(map: FlowMap, list: readonly Group[]): Pull[] {
  const weight = (verdict: string, edges: number) => (verdict === "allow" ? 1 : 0.3) * Math.sqrt(edges);
  return links(map, list, () => 0).map((l) => ({
    from: l.fromGroup,
    to: l.toGroup,
    weight: weight(l.verdict, l.edges.length),
  }));
}

function sizeOf(group: Group, level: Level): Size {
  const { w, h } = measure(group, level);
  return { w, h };
}

export class Places {
  readonly id: string;
  private shown: Map<string, Box> | null = null;

  private constructor(
    private readonly network: string,
    private readonly by: Grouping,
    readonly level: Level,
    private readonly spots: Spots,
  ) {
    this.id = Places.idOf(network, by);
  }

  static idOf(network: string, by: Grouping): string {
    return `${network} ${by}`;
  }

  /** As this browser last saw it; else a first plan with as much detail as fits the window and can be read. */
  static of(network: string, by: Grouping, map: FlowMap, list: readonly Group[], room: Size): Places {
    const known = recall(network, by);
    if (!known || !list.some((g) => known.spots[g.key])) return Places.planned(network, by, map, list, room);
    const places = new Places(network, by, known.level, known.spots);
    // What grew since then moves nobody.
    places.shown = new Map(
      list.flatMap((group) => {
        const rect = known.spots[group.key];
        return rect ? [[group.key, { group, level: known.level, rect, slots: new Map(), hidden: 0 }] as const] : [];
      }),
    );
    return places;
  }

  private static planned(network: string, by: Grouping, map: FlowMap, list: readonly Group[], room: Size): Places {
    const pulls = pullsOf(map, list);
    const aspect = Math.max(0.5, Math.min(2.6, (room.w / Math.max(1, room.h)) * 1.05));
    const levels: Level[] = by === "site" ? [2, 1, 0] : [1, 0];
    for (const level of levels) {
      const spots = plan(
        list.map((g) => ({ key: g.key, ...sizeOf(g, level) })),
        pulls,
        aspect,
      );
      const all = bounds(Object.values(spots));
      const scale = Math.min(room.w / (all.w + 80), room.h / (all.h + 80));
      if (level === 0 || scale >= LEGIBLE) return new Places(network, by, level, spots);
    }
    return new Places(network, by, 0, {});
  }

  /** Forgets where boxes were put. */
  forget(): void {
    forget(this.network, this.by);
  }

  levelOf(levels: Record<string, Level>, key: string): Level {
    return levels[key] ?? this.level;
  }

  /** The boxes of what there is now. */
  arrange(map: FlowMap, list: readonly Group[], levels: Record<string, Level>): Map<string, Box> {
    const level = (key: string) => this.levelOf(levels, key);
    this.welcome(map, list, level);
    const before = this.shown;
    this.shown = arrange(list, level, this.spots, before);
    // Who found its old place taken has another one from now on.
    for (const [key, { rect }] of this.shown)
      if (before && !before.has(key)) this.spots[key] = { ...this.spots[key]!, x: rect.x, y: rect.y };
    remember(this.network, this.by, { level: this.level, spots: this.spots });
    return this.shown;
  }

  /** Newcomers stand beside those they talk to. */
  private welcome(map: FlowMap, list: readonly Group[], level: (key: string) => Level): void {
    const fresh = list.filter((g) => !this.spots[g.key]);
    if (!fresh.length) return;
    const pulls = pullsOf(map, list);
    const known = this.shown ?? arrange(list, level, this.spots, null);
    const rects = new Map([...known].map(([key, box]) => [key, box.rect]));
    for (const group of fresh) {
      const others = pulls.flatMap((p) => (p.from === group.key ? [p.to] : p.to === group.key ? [p.from] : []));
      const friends = others.flatMap((key) => rects.get(key) ?? []);
      const own = sizeOf(group, level(group.key));
      const spot = { ...join(own, friends, [...rects.values()]), ...own };
      this.spots[group.key] = spot;
      rects.set(group.key, spot);
    }
  }

  /** The place it has on the screen, moved, becomes its place. */
  move(key: string, dx: number, dy: number): void {
    const [spot, box] = [this.spots[key], this.shown?.get(key)];
    if (!spot || !box) return;
    const rect = { ...box.rect, x: box.rect.x + dx, y: box.rect.y + dy };
    this.spots[key] = { ...spot, x: rect.x, y: rect.y };
    this.shown = new Map(this.shown).set(key, { ...box, rect });
  }

  /** Let go of: it finds room where it is, or as near as there is. */
  putDown(key: string): void {
    const box = this.shown?.get(key);
    if (!box) return;
    const others = [...this.shown!.values()].filter((b) => b !== box).map((b) => b.rect);
    const at = drop(box.rect, others);
    this.move(key, at.x - box.rect.x, at.y - box.rect.y);
  }
}

/** Every place a link can touch, on the plane. */
export function slotsOf(boxes: ReadonlyMap<string, Box>): Map<string, Slot> {
  const all = new Map<string, Slot>();
  for (const { group, rect, slots } of boxes.values()) {
    for (const [id, r] of slots) all.set(id, { x: rect.x + r.x, y: rect.y + r.y, w: r.w, h: r.h, group: group.key });
  }
  return all;
}

/** The slot next to `from` in a direction: near, and not far aside. */
export function nextSlot(
  slots: ReadonlyMap<string, Slot>,
  from: string,
  [wx, wy]: readonly [number, number],
): string | null {
  const a = slots.get(from);
  if (!a) return null;
  let best = Infinity;
  let found: string | null = null;
  for (const [id, b] of slots) {
    if (id === from) continue;
    const dx = b.x + b.w / 2 - a.x - a.w / 2;
    const dy = b.y + b.h / 2 - a.y - a.h / 2;
    const along = dx * wx + dy * wy;
    const aside = Math.abs(dx * wy) + Math.abs(dy * wx);
    if (along <= 4 || aside > along * 2.5 || along + aside * 2 >= best) continue;
    best = along + aside * 2;
    found = id;
  }
  return found;
}
