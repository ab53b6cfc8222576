// Where everything stands. Pure: the same network gives the same picture, and what once has a place keeps it.
//
// `plan` gives every group a place, once: those who open to the left, those who are opened to the right, links as short
// as a few sweeps can make them. `arrange` turns places and present sizes into rectangles: what one enlarges pushes others
// aside and lets them back. `join` finds room for a newcomer beside those it talks to and moves nobody.
import type { Level } from "../state/url";
import { type Group, OUTSIDE, slot } from "./graph";

export interface Rect {
  x: number;
  y: number;
  w: number;
  h: number;
}

/** A remembered place: top left, and the size it was planned for. */
export type Spots = Record<string, Rect>;

export interface Box {
  group: Group;
  level: Level;
  rect: Rect;
  /** Relative to the group. */
  slots: Map<string, Rect>;
  /** Services or nodes that found no room since the plan was made. */
  hidden: number;
}

const HEAD = 38;
const ROW = 28;
const GAP = 5;
const PAD = 9;
const W = 204;
const INNER = W - 2 * PAD;
/** Between groups. */
export const COLUMN_GAP = 92;
export const ROW_GAP = 26;
/** Never closer than this. */
const AIR = 14;

/** The size of a group and the places inside it; `room` is the greatest height it may have. */
export function measure(group: Group, level: Level, room = Infinity): { w: number; h: number; slots: Map<string, Rect>; hidden: number } {
  const slots = new Map<string, Rect>();
  if (level === 0 || (!group.services.length && group.kind !== OUTSIDE && level === 1)) {
    slots.set(slot.group(group.key), { x: 0, y: 0, w: W, h: 52 });
    return { w: W, h: 52, slots, hidden: 0 };
  }
  if (level === 1 || group.kind === "node" || group.kind === "outside") {
    const rows = group.kind === "outside" ? group.addresses.map((a) => slot.address(a)) : group.services.map((s) => slot.service(group.key, s.name));
    return column(group, rows, room, slots);
  }
  return nodesOf(group, room, slots);
}

function column(group: Group, rows: string[], room: number, slots: Map<string, Rect>) {
  const columns = rows.length > 14 ? 2 : 1;
  const per = Math.ceil(rows.length / columns);
  const fit = Math.max(0, Math.min(per, Math.floor((room - HEAD - PAD + GAP) / (ROW + GAP))));
  let hidden = 0;
  for (const [i, id] of rows.entries()) {
    const row = i % per;
    if (row >= fit) hidden += 1;
    else slots.set(id, { x: PAD + Math.floor(i / per) * (INNER + GAP), y: HEAD + row * (ROW + GAP), w: INNER, h: ROW });
  }
  const w = W + (columns - 1) * (INNER + GAP);
  slots.set(slot.group(group.key), { x: 0, y: 0, w, h: HEAD });
  return { w, h: HEAD + fit * (ROW + GAP) - GAP + PAD, slots, hidden };
}

const NODE_HEAD = 28;
const NODE_ROW = 22;

function nodesOf(group: Group, room: number, slots: Map<string, Rect>) {
  const offers = (id: string) => group.services.filter((s) => s.nodes.includes(id));
  const columns = Math.max(1, Math.min(4, Math.ceil(Math.sqrt(group.nodes.length / 3))));
  const tops = Array.from({ length: columns }, () => HEAD);
  let hidden = 0;
  for (const node of group.nodes) {
    const own = offers(node.id);
    const h = NODE_HEAD + (own.length ? own.length * NODE_ROW + 4 : 0);
    const c = tops.indexOf(Math.min(...tops));
    const y = tops[c]!;
    if (y + h + PAD > room) {
      hidden += 1;
      continue;
    }
    const x = PAD + c * (INNER + GAP);
    slots.set(slot.node(node.id), { x, y, w: INNER, h: own.length ? NODE_HEAD : h });
    for (const [i, service] of own.entries()) slots.set(slot.at(node.id, service.name), { x: x + 5, y: y + NODE_HEAD + i * NODE_ROW, w: INNER - 10, h: NODE_ROW - 2 });
    tops[c] = y + h + GAP + 2;
  }
  const w = W + (columns - 1) * (INNER + GAP);
  slots.set(slot.group(group.key), { x: 0, y: 0, w, h: HEAD });
  return { w, h: Math.max(...tops) - GAP - 2 + PAD, slots, hidden };
}

// --- plan

export interface Pull {
  from: string;
  to: string;
  weight: number;
}

export interface Size {
  key: string;
  w: number;
  h: number;
}

/** A place for each of `sizes`, about `aspect` times as wide as high. */
export function plan(sizes: readonly Size[], pulls: readonly Pull[], aspect = 1.7): Spots {
  const linked = new Set(pulls.flatMap((p) => (p.from === p.to ? [] : [p.from, p.to])));
  const busy = sizes.filter((s) => linked.has(s.key));
  const quiet = sizes.filter((s) => !linked.has(s.key));
  const spots: Spots = {};
  const columns = order(columnsOf(busy, pulls, aspect), pulls);
  setColumns(columns, pulls, aspect, spots);
  const bottom = Math.max(-ROW_GAP, ...Object.values(spots).map((r) => r.y + r.h));
  const right = Math.max(0, ...Object.values(spots).map((r) => r.x + r.w));
  shelve(quiet, Math.max(right, aspect * Math.sqrt(quiet.reduce((a, s) => a + (s.w + ROW_GAP) * (s.h + ROW_GAP), 0))), bottom + 2 * ROW_GAP, spots);
  return spots;
}

/** Who talks to nobody stands in rows below. */
function shelve(sizes: readonly Size[], right: number, top: number, spots: Spots): void {
  let x = 0;
  let y = top;
  let high = 0;
  for (const s of [...sizes].sort((a, b) => b.h - a.h || (a.key < b.key ? -1 : 1))) {
    if (x > 0 && x + s.w > right) {
      x = 0;
      y += high + ROW_GAP;
      high = 0;
    }
    spots[s.key] = { x, y, w: s.w, h: s.h };
    x += s.w + ROW_GAP;
    high = Math.max(high, s.h);
  }
}

/** Who opens before who is opened, cycles broken where least is lost (Eades, Lin and Smyth 1993). */
function sequence(keys: readonly string[], pulls: readonly Pull[]): string[] {
  const left: string[] = [];
  const right: string[] = [];
  const rest = new Set(keys);
  const balance = (key: string) => {
    let out = 0;
    let into = 0;
    for (const p of pulls) {
      if (p.from === p.to || !rest.has(p.from) || !rest.has(p.to)) continue;
      if (p.from === key) out += p.weight;
      if (p.to === key) into += p.weight;
    }
    return { key, out, into };
  };
  while (rest.size) {
    const all = [...rest].map(balance);
    const sinks = all.filter((b) => b.out === 0);
    const sources = all.filter((b) => b.into === 0 && b.out > 0);
    if (sinks.length) right.unshift(...sinks.map((b) => b.key));
    else if (sources.length) left.push(...sources.map((b) => b.key));
    else left.push(all.reduce((a, b) => (b.out - b.into > a.out - a.into ? b : a)).key);
    for (const key of [...left, ...right]) rest.delete(key);
  }
  return [...left, ...right];
}

function columnsOf(sizes: readonly Size[], pulls: readonly Pull[], aspect: number): Size[][] {
  if (!sizes.length) return [];
  const bySize = new Map(sizes.map((s) => [s.key, s]));
  const line = sequence(sizes.map((s) => s.key).sort(), pulls);
  const at = new Map(line.map((key, i) => [key, i]));
  const rank = new Map<string, number>();
  for (const key of line) {
    let r = 0;
    for (const p of pulls) if (p.to === key && (at.get(p.from) ?? 0) < at.get(key)!) r = Math.max(r, (rank.get(p.from) ?? 0) + 1);
    rank.set(key, r);
  }
  const deepest = Math.max(...rank.values()) + 1;
  // As many columns as give the wanted shape; ranks beyond that are folded together.
  const area = sizes.reduce((a, s) => a + (s.w + COLUMN_GAP) * (s.h + ROW_GAP), 0);
  const wide = sizes.reduce((a, s) => a + s.w, 0) / sizes.length + COLUMN_GAP;
  const wanted = Math.max(1, Math.round(Math.sqrt(area * aspect) / wide));
  const columns = Math.max(Math.min(deepest, Math.max(wanted, 2)), Math.min(wanted, sizes.length));
  const list: Size[][] = Array.from({ length: columns }, () => []);
  const highest = (area / wide / columns) * 1.12;
  const height = (column: Size[]) => column.reduce((a, s) => a + s.h + ROW_GAP, 0);
  for (const key of line) {
    let c = deepest <= columns ? rank.get(key)! : Math.floor((rank.get(key)! * columns) / deepest);
    // Too high a column gives to the next one.
    while (c < columns - 1 && list[c]!.length && height(list[c]!) + bySize.get(key)!.h > highest) c += 1;
    list[c]!.push(bySize.get(key)!);
  }
  return list.filter((column) => column.length);
}

/** Sweeps to and fro: each stands where those it talks to stand. */
function order(columns: Size[][], pulls: readonly Pull[]): Size[][] {
  const near = neighbours(pulls);
  for (let sweep = 0; sweep < 12; sweep++) {
    const at = new Map<string, number>();
    for (const column of columns) for (const [i, s] of column.entries()) at.set(s.key, (i + 0.5) / column.length);
    const mean = (key: string) => {
      let sum = 0;
      let weight = 0;
      for (const [other, w] of near.get(key) ?? []) {
        sum += (at.get(other) ?? 0.5) * w;
        weight += w;
      }
      return weight ? sum / weight : (at.get(key) ?? 0.5);
    };
    const forward = sweep % 2 === 0 ? columns : [...columns].reverse();
    for (const column of forward) {
      const wish = new Map(column.map((s) => [s.key, mean(s.key)]));
      column.sort((a, b) => wish.get(a.key)! - wish.get(b.key)! || (a.key < b.key ? -1 : 1));
      for (const [i, s] of column.entries()) at.set(s.key, (i + 0.5) / column.length);
    }
  }
  return columns;
}

function neighbours(pulls: readonly Pull[]): Map<string, Map<string, number>> {
  const near = new Map<string, Map<string, number>>();
  const tie = (a: string, b: string, w: number) => {
    const of = near.get(a) ?? new Map<string, number>();
    of.set(b, (of.get(b) ?? 0) + w);
    near.set(a, of);
  };
  for (const p of pulls) {
    if (p.from === p.to) continue;
    tie(p.from, p.to, p.weight);
    tie(p.to, p.from, p.weight);
  }
  return near;
}

function setColumns(columns: Size[][], pulls: readonly Pull[], aspect: number, spots: Spots): void {
  const near = neighbours(pulls);
  const height = (column: Size[]) => column.reduce((a, s) => a + s.h + ROW_GAP, -ROW_GAP);
  const tallest = Math.max(0, ...columns.map(height));
  // Room that is there anyway is given to the links.
  const widths = columns.reduce((a, column) => a + Math.max(...column.map((s) => s.w)), 0);
  const gap = Math.round(Math.max(COLUMN_GAP, Math.min(2.4 * COLUMN_GAP, (tallest * aspect - widths) / Math.max(1, columns.length - 1))));
  let x = 0;
  for (const column of columns) {
    let y = (tallest - height(column)) / 2;
    const wide = Math.max(...column.map((s) => s.w));
    for (const s of column) {
      spots[s.key] = { x, y: Math.round(y), w: s.w, h: s.h };
      y += s.h + ROW_GAP;
    }
    x += wide + gap;
  }
  // Within its order each may come nearer to its own.
  for (let round = 0; round < 8; round++) {
    for (const column of round % 2 ? [...columns].reverse() : columns) {
      const wish = column.map((s) => {
        let sum = 0;
        let weight = 0;
        for (const [other, w] of near.get(s.key) ?? []) {
          const r = spots[other];
          if (!r) continue;
          sum += (r.y + r.h / 2) * w;
          weight += w;
        }
        const own = spots[s.key]!;
        return weight ? sum / weight - s.h / 2 : own.y;
      });
      settle(column, wish, tallest, spots);
    }
  }
}

/** As near to the wishes as order and room permit. */
function settle(column: Size[], wish: number[], bottom: number, spots: Spots): void {
  const y = [...wish];
  for (let i = 1; i < column.length; i++) y[i] = Math.max(y[i]!, y[i - 1]! + column[i - 1]!.h + ROW_GAP);
  let limit = bottom;
  for (let i = column.length - 1; i >= 0; i--) {
    y[i] = Math.min(y[i]!, limit - column[i]!.h);
    limit = y[i]! - ROW_GAP;
  }
  for (let i = 0; i < column.length; i++) {
    const floor = i ? y[i - 1]! + column[i - 1]!.h + ROW_GAP : 0;
    y[i] = Math.round(Math.max(y[i]!, floor));
    spots[column[i]!.key]!.y = y[i]!;
  }
}

// --- arrange

export function overlaps(a: Rect, b: Rect, air = 0): boolean {
  return a.x < b.x + b.w + air && b.x < a.x + a.w + air && a.y < b.y + b.h + air && b.y < a.y + a.h + air;
}

/**
 * Rectangles for all groups. With `before` (the picture that is on the screen) only a group whose level has changed may
 * have another size that moves others; the rest grows only into free room.
 */
export function arrange(list: readonly Group[], levelOf: (key: string) => Level, spots: Spots, before: ReadonlyMap<string, Box> | null): Map<string, Box> {
  const boxes = new Map<string, Box>();
  for (const group of list) {
    const spot = spots[group.key];
    if (!spot) continue;
    const level = levelOf(group.key);
    boxes.set(group.key, { group, level, ...sized(group, level) });
  }
  const sameLevels = before !== null && [...boxes.values()].every((b) => !before.has(b.group.key) || before.get(b.group.key)!.level === b.level);
  if (sameLevels) stay(boxes, before);
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
      if (other !== box && s.x + s.w <= own.x) most = Math.max(most, (shift.get(other.group.key) ?? 0) + Math.max(0, other.rect.w - s.w));
    }
    shift.set(box.group.key, most);
    box.rect.x = own.x + most;
  }
  // Downwards: never into one another.
  list.sort((a, b) => a.rect.y - b.rect.y || a.rect.x - b.rect.x || (a.group.key < b.group.key ? -1 : 1));
  for (const [i, box] of list.entries()) {
    for (let moved = true; moved; ) {
      moved = false;
      for (const placed of list.slice(0, i)) {
        if (!overlaps(box.rect, placed.rect, AIR - 1)) continue;
        box.rect.y = placed.rect.y + placed.rect.h + AIR;
        moved = true;
      }
    }
  }
}

/** Nobody moves; who has more to show than before takes free room, or says how much is hidden. */
function stay(boxes: Map<string, Box>, before: ReadonlyMap<string, Box>): void {
  const taken = [...boxes.values()].map((box) => {
    const known = before.get(box.group.key);
    if (known) box.rect = { ...known.rect };
    return { box, known };
  });
  for (const { box, known } of taken) {
    if (!known) continue;
    const whole = measure(box.group, box.level);
    box.rect.w = whole.w;
    const wanted = { ...box.rect, h: whole.h };
    const blocked = taken.filter((o) => o.box !== box && overlaps(wanted, o.box.rect, AIR)).map((o) => o.box.rect);
    const free = blocked.length ? Math.max(known.rect.h, Math.min(...blocked.map((r) => r.y)) - AIR - box.rect.y) : Infinity;
    const m = measure(box.group, box.level, Math.min(whole.h, free));
    box.slots = m.slots;
    box.hidden = m.hidden;
    box.rect.h = m.h;
  }
}

// --- join

/** A place beside `friends` that touches none of `taken`. */
export function join(size: { w: number; h: number }, friends: readonly Rect[], taken: readonly Rect[]): { x: number; y: number } {
  const all = friends.length ? friends : taken;
  if (!all.length) return { x: 0, y: 0 };
  const cx = all.reduce((a, r) => a + r.x + r.w / 2, 0) / all.length;
  const cy = all.reduce((a, r) => a + r.y + r.h / 2, 0) / all.length;
  const tries: { x: number; y: number }[] = [];
  for (const r of all) {
    const ys = [r.y, r.y + r.h / 2 - size.h / 2, r.y + r.h - size.h];
    for (const y of ys) tries.push({ x: r.x - COLUMN_GAP - size.w, y }, { x: r.x + r.w + COLUMN_GAP, y });
    tries.push({ x: r.x, y: r.y - ROW_GAP - size.h }, { x: r.x, y: r.y + r.h + ROW_GAP });
  }
  for (const r of taken) tries.push({ x: r.x, y: r.y + r.h + ROW_GAP }, { x: r.x, y: r.y - ROW_GAP - size.h });
  const free = (p: { x: number; y: number }) => !taken.some((r) => overlaps({ ...p, ...size }, r, AIR));
  const far = (p: { x: number; y: number }) => (p.x + size.w / 2 - cx) ** 2 + (p.y + size.h / 2 - cy) ** 2;
  const best = tries.filter(free).sort((a, b) => far(a) - far(b) || a.x - b.x || a.y - b.y)[0];
  if (best) return { x: Math.round(best.x), y: Math.round(best.y) };
  return { x: Math.round(cx - size.w / 2), y: Math.max(...taken.map((r) => r.y + r.h)) + ROW_GAP };
}

/** The place nearest to where it was dropped that touches nothing. */
export function drop(rect: Rect, taken: readonly Rect[]): { x: number; y: number } {
  const tries = [{ x: rect.x, y: rect.y }];
  for (const r of taken) {
    const [left, right, above, below] = [r.x - AIR - rect.w, r.x + r.w + AIR, r.y - AIR - rect.h, r.y + r.h + AIR];
    for (const x of [left, right]) tries.push({ x, y: rect.y }, { x, y: r.y }, { x, y: above }, { x, y: below });
    for (const y of [above, below]) tries.push({ x: rect.x, y }, { x: r.x, y });
  }
  const far = (p: { x: number; y: number }) => (p.x - rect.x) ** 2 + (p.y - rect.y) ** 2;
  const free = tries.filter((p) => !taken.some((r) => overlaps({ ...rect, ...p }, r, AIR - 1)));
  const best = free.sort((a, b) => far(a) - far(b))[0];
  return best ?? { x: rect.x, y: Math.max(rect.y, ...taken.map((r) => r.y + r.h + AIR)) };
}

export function bounds(rects: Iterable<Rect>): Rect {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const r of rects) {
    x0 = Math.min(x0, r.x);
    y0 = Math.min(y0, r.y);
    x1 = Math.max(x1, r.x + r.w);
    y1 = Math.max(y1, r.y + r.h);
  }
  return x0 === Infinity ? { x: 0, y: 0, w: 0, h: 0 } : { x: x0, y: y0, w: x1 - x0, h: y1 - y0 };
}
