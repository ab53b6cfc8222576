// Links on a canvas. Draws what it is told; decides nothing.
import { type Curve, at } from "./curves";
import type { Verdict } from "../api/types";
import type { View } from "./camera";

export interface Stroke {
  id: string;
  curve: Curve;
  verdict: Verdict;
  width: number;
  isNew: boolean;
  /** Where along the curve its sign stands. */
  mark: number;
}

export interface Ink {
  ink: string;
  strong: string;
  deny: string;
  would: string;
  surface: string;
}

export function inkOf(element: Element): Ink {
  const style = getComputedStyle(element);
  const read = (name: string) => style.getPropertyValue(name).trim() || "#888";
  return {
    ink: read("--link"),
    strong: read("--ink"),
    deny: read("--deny"),
    would: read("--amber"),
    surface: read("--ground"),
  };
}

export function colour(verdict: Verdict, ink: Ink, strong: boolean): string {
  if (verdict === "deny") return ink.deny;
  if (verdict === "would-deny") return ink.would;
  return strong ? ink.strong : ink.ink;
}

const DASH: Record<Verdict, number[]> = { allow: [], deny: [6, 4], "would-deny": [2, 4], "would-allow": [1, 3] };

export function setUp(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D | null {
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  return canvas.getContext("2d");
}

export function clear(g: CanvasRenderingContext2D, view: View): void {
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  g.setTransform(1, 0, 0, 1, 0, 0);
  g.clearRect(0, 0, g.canvas.width, g.canvas.height);
  g.setTransform(ratio * view.k, 0, 0, ratio * view.k, ratio * view.x, ratio * view.y);
}

/** All strokes; those in `bright` in full ink and above the rest, which then steps back. */
export function strokes(
  g: CanvasRenderingContext2D,
  view: View,
  list: readonly Stroke[],
  ink: Ink,
  bright: ReadonlySet<string> | null,
  area: [number, number],
): void {
  const seen = list.filter((s) => inView(s.curve, view, area));
  const back = bright ? seen.filter((s) => !bright.has(s.id)) : seen;
  // A crowd is drawn finer and fainter, so that it reads as a texture and not as a blot.
  const crowd = Math.max(0.35, Math.min(1, Math.sqrt(90 / Math.max(1, seen.length))));
  g.globalAlpha = bright ? Math.min(0.16, crowd * 0.3) : 1;
  batch(g, view, back, ink, false, crowd);
  g.globalAlpha = 1;
  if (!bright && seen.length <= 1500) marks(g, view, back, ink);
  if (bright) {
    const front = seen.filter((s) => bright.has(s.id));
    batch(g, view, front, ink, true, 1);
    marks(g, view, front, ink);
  }
}

function inView(c: Curve, view: View, [w, h]: [number, number]): boolean {
  const [x0, y0, x1, y1] = c.box;
  return (
    x1 * view.k + view.x > -20 &&
    x0 * view.k + view.x < w + 20 &&
    y1 * view.k + view.y > -20 &&
    y0 * view.k + view.y < h + 20
  );
}

/** One path for each colour and width: thousands of curves in a few strokes. Refusals last, on top. */
function batch(
  g: CanvasRenderingContext2D,
  view: View,
  list: readonly Stroke[],
  ink: Ink,
  strong: boolean,
  crowd: number,
): void {
  const piles = new Map<string, Stroke[]>();
  for (const s of list) {
    const key = `${s.verdict} ${Math.round(s.width * 2)}`;
    const pile = piles.get(key);
    if (pile) pile.push(s);
    else piles.set(key, [s]);
  }
  const rank: Record<Verdict, number> = { allow: 0, "would-allow": 1, "would-deny": 2, deny: 3 };
  const thin = Math.max(1, 0.9 / view.k);
  for (const pile of [...piles.values()].sort((a, b) => rank[a[0]!.verdict] - rank[b[0]!.verdict])) {
    const first = pile[0]!;
    const plain = first.verdict === "allow";
    const w = Math.max(thin, plain ? first.width * (0.45 + 0.55 * crowd) : first.width);
    const alpha = g.globalAlpha;
    // Refusals keep their ink in any crowd.
    if (plain) g.globalAlpha = alpha * (0.25 + 0.75 * crowd);
    g.strokeStyle = colour(first.verdict, ink, strong);
    g.lineWidth = w;
    g.setLineDash(DASH[first.verdict].map((d) => d * Math.max(1, w * 0.7)));
    g.beginPath();
    for (const {
      curve: { p },
    } of pile) {
      g.moveTo(p[0], p[1]);
      g.bezierCurveTo(p[2], p[3], p[4], p[5], p[6], p[7]);
    }
    g.stroke();
    g.setLineDash([]);
    arrows(g, pile, w);
    g.globalAlpha = alpha;
  }
}

/** Heads where the link arrives. */
function arrows(g: CanvasRenderingContext2D, pile: readonly Stroke[], w: number): void {
  g.fillStyle = g.strokeStyle;
  g.beginPath();
  const size = 5 + w * 1.1;
  for (const {
    curve: { p },
  } of pile) {
    const dx = p[6] - p[4];
    const dy = p[7] - p[5];
    const d = Math.hypot(dx, dy) || 1;
    const [ux, uy] = [dx / d, dy / d];
    g.moveTo(p[6], p[7]);
    g.lineTo(p[6] - ux * size - uy * size * 0.5, p[7] - uy * size + ux * size * 0.5);
    g.lineTo(p[6] - ux * size + uy * size * 0.5, p[7] - uy * size - ux * size * 0.5);
    g.closePath();
  }
  g.fill();
}

/** A cross on what is refused, a bar on what would be, a diamond on what is new: shapes beside colours. */
function marks(g: CanvasRenderingContext2D, view: View, list: readonly Stroke[], ink: Ink): void {
  const r = Math.max(6.5, 5 / view.k);
  for (const s of list) {
    if (s.verdict === "deny" || s.verdict === "would-deny") {
      const [x, y] = at(s.curve.p, s.mark);
      g.fillStyle = ink.surface;
      g.strokeStyle = colour(s.verdict, ink, true);
      g.lineWidth = Math.max(1.4, 1.1 / view.k);
      g.beginPath();
      g.arc(x, y, r, 0, 7);
      g.fill();
      g.stroke();
      const d = r * 0.42;
      g.beginPath();
      if (s.verdict === "deny") {
        g.moveTo(x - d, y - d);
        g.lineTo(x + d, y + d);
        g.moveTo(x + d, y - d);
        g.lineTo(x - d, y + d);
      } else {
        g.moveTo(x - d, y);
        g.lineTo(x + d, y);
      }
      g.stroke();
    }
    if (s.isNew) {
      const [x, y] = at(s.curve.p, 0.82);
      g.fillStyle = ink.surface;
      g.strokeStyle = ink.strong;
      g.lineWidth = 1.4;
      g.beginPath();
      g.moveTo(x, y - 5);
      g.lineTo(x + 5, y);
      g.lineTo(x, y + 5);
      g.lineTo(x - 5, y);
      g.closePath();
      g.fill();
      g.stroke();
    }
  }
}

/** Dots that travel as the traffic does. `phase` in seconds. */
export function dots(
  g: CanvasRenderingContext2D,
  list: readonly (Stroke & { activity: number })[],
  ink: Ink,
  phase: number,
  alpha: (id: string) => number,
): void {
  g.fillStyle = ink.strong;
  for (const s of list) {
    const many = Math.min(2, 1 + Math.floor(Math.log10(Math.max(1, s.activity)) / 4));
    g.globalAlpha = alpha(s.id);
    for (let i = 0; i < many; i++) {
      const t = (phase * 0.16 + i / many + ((s.curve.p[1] * 0.0137 + s.curve.p[7] * 0.0071) % 1)) % 1;
      const [x, y] = at(s.curve.p, t);
      g.beginPath();
      g.arc(x, y, 1.1 + s.width * 0.32, 0, 7);
      g.fill();
    }
  }
  g.globalAlpha = 1;
}
