// Where one looks at the plane from. Pure.
import type { Rect } from "./geometry";

/** A point of the plane is seen at `k` times itself plus (`x`, `y`). */
export interface View {
  x: number;
  y: number;
  k: number;
}

export interface Size {
  w: number;
  h: number;
}

const K_MIN = 0.12;
const K_MAX = 2.2;
/** Whole pictures are not blown up beyond this. */
const K_FIT = 1.2;

const clamp = (value: number, from: number, to: number) => Math.max(from, Math.min(to, value));

/** Nearer or farther; what is under (`x`, `y`) stays there. */
export function zoomed(view: View, factor: number, x: number, y: number): View {
  const k = clamp(view.k * factor, K_MIN, K_MAX);
  return { k, x: x - ((x - view.x) * k) / view.k, y: y - ((y - view.y) * k) / view.k };
}

/** All of `rect`, in the middle. */
export function fitted(rect: Rect, size: Size): View {
  const isSmall = size.w < 700;
  const [side, top, bottom] = isSmall ? [26, 56, 40] : [48, 64, 48];
  const [w, h] = [size.w - 2 * side, size.h - top - bottom];
  const k = clamp(Math.min(w / Math.max(1, rect.w), h / Math.max(1, rect.h)), K_MIN, K_FIT);
  return { k, x: side + (w - rect.w * k) / 2 - rect.x * k, y: top + (h - rect.h * k) / 2 - rect.y * k };
}

/** The least change that brings `rect` into sight; null: it is in sight. */
export function sighted(view: View, rect: Rect, size: Size): View | null {
  const [left, top, right, bottom] = [24, 60, size.w - 24, size.h - 24];
  const x = rect.x * view.k + view.x;
  const y = rect.y * view.k + view.y;
  if (x >= left && y >= top && x + rect.w * view.k <= right && y + rect.h * view.k <= bottom) return null;
  const k = Math.max(0.5, Math.min(view.k, (right - left) / rect.w, (bottom - top) / rect.h));
  const about = zoomed(view, k / view.k, size.w / 2, size.h / 2);
  const slide = (at: number, length: number, now: number, from: number, to: number) => {
    if (length * about.k > to - from) return (from + to) / 2 - (at + length / 2) * about.k;
    return clamp(now, from - at * about.k, to - (at + length) * about.k);
  };
  return { k: about.k, x: slide(rect.x, rect.w, about.x, left, right), y: slide(rect.y, rect.h, about.y, top, bottom) };
}

/** A part of the way from one view to another. */
export function between(from: View, to: View, t: number): View {
  const e = 1 - (1 - t) ** 3;
  return { k: from.k + (to.k - from.k) * e, x: from.x + (to.x - from.x) * e, y: from.y + (to.y - from.y) * e };
}

/** How much can be read: `no` all, `yes` names, `very` only the names of groups. */
export function farness(k: number): "no" | "yes" | "very" {
  return k < 0.42 ? "very" : k < 0.74 ? "yes" : "no";
}
