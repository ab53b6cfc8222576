// Rectangles, and room among them. Pure.

export interface Rect {
  x: number;
  y: number;
  w: number;
  h: number;
}

/** Between groups. */
export const COLUMN_GAP = 92;
export const ROW_GAP = 26;
/** Never closer than this. */
export const AIR = 14;

export function overlaps(a: Rect, b: Rect, air = 0): boolean {
  return a.x < b.x + b.w + air && b.x < a.x + a.w + air && a.y < b.y + b.h + air && b.y < a.y + a.h + air;
}

/** A place beside `friends` that touches none of `taken`. */
export function join(
  size: { w: number; h: number },
  friends: readonly Rect[],
  taken: readonly Rect[],
): { x: number; y: number } {
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
