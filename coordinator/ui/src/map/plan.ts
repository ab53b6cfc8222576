// A place for every group, once: those who open to the left, those who are opened to the right, links as short as a few
// sweeps can make them. The same network gives the same plan. Pure.
import { COLUMN_GAP, ROW_GAP, type Rect } from "./geometry";

/** A remembered place: top left, and the size it was planned for. */
export type Spots = Record<string, Rect>;

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
export function plan(sizes: readonly Size[], told: readonly Pull[], aspect = 1.7): Spots {
  // Sums of weights depend on their order in the last digit, and a tie on that: whoever tells it, the order is one.
  const word = (p: Pull) => `${p.from}\n${p.to}\n${p.weight}`;
  const pulls = [...told].sort((a, b) => (word(a) < word(b) ? -1 : 1));
  const linked = new Set(pulls.flatMap((p) => (p.from === p.to ? [] : [p.from, p.to])));
  const busy = sizes.filter((s) => linked.has(s.key));
  const quiet = sizes.filter((s) => !linked.has(s.key));
  const spots: Spots = {};
  const columns = order(columnsOf(busy, pulls, aspect), pulls);
  setColumns(columns, pulls, aspect, spots);
  const bottom = Math.max(-ROW_GAP, ...Object.values(spots).map((r) => r.y + r.h));
  const right = Math.max(0, ...Object.values(spots).map((r) => r.x + r.w));
  shelve(
    quiet,
    Math.max(right, aspect * Math.sqrt(quiet.reduce((a, s) => a + (s.w + ROW_GAP) * (s.h + ROW_GAP), 0))),
    bottom + 2 * ROW_GAP,
    spots,
  );
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
  const own = new Map<string, Pull[]>(keys.map((key) => [key, []]));
  for (const p of pulls) {
    if (p.from === p.to) continue;
    own.get(p.from)?.push(p);
    own.get(p.to)?.push(p);
  }
  const balance = (key: string) => {
    let out = 0;
    let into = 0;
    for (const p of own.get(key)!) {
      if (p.from === key && rest.has(p.to)) out += p.weight;
      if (p.to === key && rest.has(p.from)) into += p.weight;
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
    for (const p of pulls)
      if (p.to === key && (at.get(p.from) ?? 0) < at.get(key)!) r = Math.max(r, (rank.get(p.from) ?? 0) + 1);
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
  const gap = Math.round(
    Math.max(COLUMN_GAP, Math.min(2.4 * COLUMN_GAP, (tallest * aspect - widths) / Math.max(1, columns.length - 1))),
  );
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
