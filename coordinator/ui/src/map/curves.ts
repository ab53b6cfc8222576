// How links run between rectangles, and how near a point is to one.
import type { Rect } from "./geometry";

/** A cubic Bézier: start, two handles, end. */
export interface Curve {
  p: [number, number, number, number, number, number, number, number];
  /** Points along it, x and y in turn, for nearness. */
  points: Float32Array;
  box: [number, number, number, number];
}

export interface Wire {
  id: string;
  from: string;
  to: string;
  a: Rect;
  b: Rect;
  /** Both ends lie within one group. */
  inside: boolean;
}

type Side = "l" | "r";
const STEPS = 18;
/** Between two links that touch the same side of a box. */
const LANE = 8;

function sides({ a, b, inside }: Wire): [Side, Side] {
  if (inside) return ["r", "r"];
  if (b.x >= a.x + a.w) return ["r", "l"];
  if (b.x + b.w <= a.x) return ["l", "r"];
  return ["r", "r"];
}

/** Every link has a place of its own on the side it touches, in the order of where it goes: none crosses another there. */
export function route(wires: readonly Wire[]): Map<string, Curve> {
  const touches = new Map<string, { wire: Wire; end: 0 | 1; order: number }[]>();
  const chosen = wires.map(sides);
  const middle = (r: Rect) => r.y + r.h / 2;
  for (const [i, wire] of wires.entries()) {
    for (const end of [0, 1] as const) {
      const key = `${end ? wire.to : wire.from}\t${chosen[i]![end]}`;
      const [own, other] = end ? [wire.b, wire.a] : [wire.a, wire.b];
      // What stays on this side and goes up leaves above what goes down, the farthest outermost.
      const order = middle(other) - middle(own) + (wire.from === wire.to ? (end ? 1 : -1) : 0);
      const list = touches.get(key);
      if (list) list.push({ wire, end, order });
      else touches.set(key, [{ wire, end, order }]);
    }
  }
  const ys = new Map<string, [number, number]>();
  for (const list of touches.values()) {
    list.sort((p, q) => p.order - q.order || p.end - q.end || (p.wire.id < q.wire.id ? -1 : 1));
    for (const [i, { wire, end }] of list.entries()) {
      const own = end ? wire.b : wire.a;
      const step = Math.min(LANE, (own.h - 10) / list.length);
      const y = middle(own) + (i - (list.length - 1) / 2) * step;
      const known = ys.get(wire.id) ?? [0, 0];
      known[end] = y;
      ys.set(wire.id, known);
    }
  }
  return new Map(wires.map((wire, i) => [wire.id, curve(wire, chosen[i]!, ys.get(wire.id)!)]));
}

function curve({ a, b }: Wire, [from, to]: [Side, Side], [ay, by]: [number, number]): Curve {
  const ax = from === "r" ? a.x + a.w : a.x;
  const bx = to === "r" ? b.x + b.w : b.x;
  if (from === to) {
    const out = Math.max(ax, bx) + 22 + Math.min(70, Math.abs(by - ay) * 0.16);
    return sampled([ax, ay, out, ay, out, by, bx, by]);
  }
  const d = Math.max(28, Math.min(220, Math.abs(bx - ax) * 0.48));
  const way = from === "r" ? 1 : -1;
  return sampled([ax, ay, ax + way * d, ay, bx - way * d, by, bx, by]);
}

export function at(p: Curve["p"], t: number): [number, number] {
  const u = 1 - t;
  const [a, b, c, d] = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
  return [a * p[0] + b * p[2] + c * p[4] + d * p[6], a * p[1] + b * p[3] + c * p[5] + d * p[7]];
}

function sampled(p: Curve["p"]): Curve {
  const points = new Float32Array((STEPS + 1) * 2);
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i <= STEPS; i++) {
    const [x, y] = at(p, i / STEPS);
    points[2 * i] = x;
    points[2 * i + 1] = y;
    x0 = Math.min(x0, x);
    x1 = Math.max(x1, x);
    y0 = Math.min(y0, y);
    y1 = Math.max(y1, y);
  }
  return { p, points, box: [x0, y0, x1, y1] };
}

/** Where along it a mark can be seen: nearest to the middle of what neither a rectangle nor another mark covers. */
export function openSpot(c: Curve, rects: readonly Rect[], others: [number, number][]): number {
  const air = 8;
  let fallback = 0.5;
  let isFirst = true;
  for (const t of [0.5, 0.46, 0.54, 0.42, 0.58, 0.37, 0.63, 0.32, 0.68, 0.26, 0.74, 0.2, 0.8, 0.13, 0.87]) {
    const [x, y] = at(c.p, t);
    if (rects.some((r) => x > r.x - air && x < r.x + r.w + air && y > r.y - air && y < r.y + r.h + air)) continue;
    if (isFirst) fallback = t;
    isFirst = false;
    if (others.some(([ox, oy]) => Math.hypot(ox - x, oy - y) < 17)) continue;
    others.push([x, y]);
    return t;
  }
  return fallback;
}

/** Distance from a point, squared; Infinity beyond `reach`. */
export function distance2(c: Curve, x: number, y: number, reach: number): number {
  if (x < c.box[0] - reach || x > c.box[2] + reach || y < c.box[1] - reach || y > c.box[3] + reach) return Infinity;
  let best = Infinity;
  const q = c.points;
  for (let i = 0; i < STEPS; i++) {
    const ax = q[2 * i]!;
    const ay = q[2 * i + 1]!;
    const dx = q[2 * i + 2]! - ax;
    const dy = q[2 * i + 3]! - ay;
    const t = Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1)));
    const ex = x - ax - t * dx;
    const ey = y - ay - t * dy;
    best = Math.min(best, ex * ex + ey * ey);
  }
  return best;
}
