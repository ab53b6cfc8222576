// How a link runs between two rectangles, and how near a point is to it.
import type { Rect } from "./layout";

/** A cubic Bézier: start, two handles, end. */
export interface Curve {
  p: [number, number, number, number, number, number, number, number];
  /** Points along it, x and y in turn, for nearness. */
  points: Float32Array;
  box: [number, number, number, number];
}

const STEPS = 18;

/** From the side of `a` to the side of `b`, leaving and arriving level; `inside`: `b` lies within the group of `a`. */
export function curve(a: Rect, b: Rect, inside: boolean, lane = 0): Curve {
  const ay = a.y + a.h / 2;
  const by = b.y + b.h / 2 + lane;
  let p: Curve["p"];
  if (inside) {
    const right = Math.max(a.x + a.w, b.x + b.w);
    const out = right + 26;
    p = [a.x + a.w, ay, out, ay, out + 6, by, b.x + b.w, by];
  } else if (b.x >= a.x + a.w) {
    const d = Math.max(30, Math.min(160, (b.x - a.x - a.w) * 0.5));
    p = [a.x + a.w, ay, a.x + a.w + d, ay, b.x - d, by, b.x, by];
  } else if (b.x + b.w <= a.x) {
    const d = Math.max(30, Math.min(160, (a.x - b.x - b.w) * 0.5));
    p = [a.x, ay, a.x - d, ay, b.x + b.w + d, by, b.x + b.w, by];
  } else {
    const right = Math.max(a.x + a.w, b.x + b.w);
    const d = 34 + Math.min(40, Math.abs(by - ay) * 0.08);
    p = [a.x + a.w, ay, right + d, ay, right + d, by, b.x + b.w, by];
  }
  return sampled(p);
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
