// From places and present sizes to rectangles: what one enlarges pushes others aside and lets them back; what grows by itself
// moves nobody. Pure.
import type { Level } from "../state/url";
import { AIR, type Rect, drop, overlaps } from "./geometry";
import type { Group } from "./graph";
import { measure } from "./measure";
import type { Spots } from "./plan";

export interface Box {
  group: Group;
  level: Level;
  rect: Rect;
  /** Relative to the group. */
  slots: Map<string, Rect>;
  /** Services or nodes that found no room since the plan was made. */
  hidden: number;
}

/**
 * Rectangles for all groups. With `before` (the picture that is on the screen) only a group whose level has changed may
 * have another size that moves others; the rest grows only into free room.
 */
export function arrange(
  list: readonly Group[],
  levelOf: (key: string) => Level,
  spots: Spots,
  before: ReadonlyMap<string, Box> | null,
): Map<string, Box> {
  const boxes = new Map<string, Box>();
  for (const group of list) {
    const spot = spots[group.key];
    if (!spot) continue;
    const level = levelOf(group.key);
    boxes.set(group.key, { group, level, ...sized(group, level) });
  }
  const sameLevels =
    before !== null &&
    [...boxes.values()].every((b) => !before.has(b.group.key) || before.get(b.group.key)!.level === b.level);
  if (sameLevels) stay(boxes, before, spots);
  else spread(boxes, spots);
  return boxes;
}

function sized(group: Group, level: Level): { slots: Map<string, Rect>; hidden: number } & { rect: Rect } {
  const m = measure(group, level);
  return { slots: m.slots, hidden: m.hidden, rect: { x: 0, y: 0, w: m.w, h: m.h } };
}

function spread(boxes: Map<string, Box>, spots: Spots): void {
  const list = [...boxes.values()];
  for (const box of list) box.rect = { ...box.rect, x: spots[box.group.key]!.x, y: spots[box.group.key]!.y };
  // Rightwards: by as much as those wholly to the left have grown.
  const shift = new Map<string, number>();
  list.sort((a, b) => spots[a.group.key]!.x - spots[b.group.key]!.x);
  for (const box of list) {
    const own = spots[box.group.key]!;
    let most = 0;
    for (const other of list) {
      const s = spots[other.group.key]!;
      if (other !== box && s.x + s.w <= own.x)
        most = Math.max(most, (shift.get(other.group.key) ?? 0) + Math.max(0, other.rect.w - s.w));
    }
    shift.set(box.group.key, most);
    box.rect.x = own.x + most;
  }
  // Downwards: never into one another.
  list.sort((a, b) => a.rect.y - b.rect.y || a.rect.x - b.rect.x || (a.group.key < b.group.key ? -1 : 1));
  for (const [i, box] of list.entries()) {
    for (let moved = true; moved;) {
      moved = false;
      for (const placed of list.slice(0, i)) {
        if (!overlaps(box.rect, placed.rect, AIR - 1)) continue;
        box.rect.y = placed.rect.y + placed.rect.h + AIR;
        moved = true;
      }
    }
  }
}

/**
 * Nobody moves; who has more to show than before takes free room, or says how much is hidden. Who was not in the picture
 * stands where it is planned, or once stood; if that is taken meanwhile, as near as there is room.
 */
function stay(boxes: Map<string, Box>, before: ReadonlyMap<string, Box>, spots: Spots): void {
  const taken = [...boxes.values()].map((box) => {
    const known = before.get(box.group.key);
    const spot = spots[box.group.key]!;
    box.rect = known ? { ...known.rect } : { ...box.rect, x: spot.x, y: spot.y };
    return { box, known };
  });
  const settled = taken.filter((t) => t.known).map((t) => t.box.rect);
  for (const { box } of taken.filter((t) => !t.known)) {
    if (settled.some((r) => overlaps(box.rect, r, AIR - 1))) Object.assign(box.rect, drop(box.rect, settled));
    settled.push(box.rect);
  }
  for (const { box, known } of taken) {
    if (!known) continue;
    const whole = measure(box.group, box.level);
    box.rect.w = whole.w;
    const wanted = { ...box.rect, h: whole.h };
    const blocked = taken.filter((o) => o.box !== box && overlaps(wanted, o.box.rect, AIR)).map((o) => o.box.rect);
    const free = blocked.length
      ? Math.max(known.rect.h, Math.min(...blocked.map((r) => r.y)) - AIR - box.rect.y)
      : Infinity;
    const m = measure(box.group, box.level, Math.min(whole.h, free));
    box.slots = m.slots;
    box.hidden = m.hidden;
    box.rect.h = m.h;
  }
}
