// The hands of the map: canvases, light and movement. It knows no network; it shows what it was last given.
import { type Curve, distance2 } from "./curves";
import { type Stroke, clear, dots, inkOf, setUp, strokes as drawStrokes } from "./draw";
import { type View, between, farness, sighted, zoomed } from "./camera";
import type { Rect } from "./geometry";
import type { Link } from "./graph";

export interface Shown {
  links: readonly Link[];
  strokes: readonly Stroke[];
  /** Links in full light; null: all alike. */
  bright: ReadonlySet<string> | null;
  /** Places that are lit beside the ends of those links. */
  lit: readonly string[];
  /** Bytes of the last seconds by link. */
  activity: (link: Link) => number;
}

const NOTHING: Shown = { links: [], strokes: [], bright: null, lit: [], activity: () => 0 };
/** A glide takes so long, a moved plane is sharp again after so long: milliseconds. */
const GLIDE = 180;
const REST = 160;
/** More moving dots than this are a flicker, not a picture. */
const MOST_MOVING = 300;

const still = () => matchMedia("(prefers-reduced-motion: reduce)");

export class Stage {
  view: View = { x: 0, y: 0, k: 1 };
  private shown = NOTHING;
  private asked = 0;
  private gliding = 0;
  private rest: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly frame: HTMLElement,
    private readonly world: HTMLElement,
    private readonly canvas: HTMLCanvasElement,
    private readonly overlay: HTMLCanvasElement,
  ) {}

  get size() {
    return { w: this.frame.clientWidth, h: this.frame.clientHeight };
  }

  show(shown: Shown): void {
    this.shown = shown;
    this.light();
  }

  look(view: View): void {
    this.view = view;
    this.draw();
  }

  zoom(factor: number, x: number, y: number): void {
    this.look(zoomed(this.view, factor, x, y));
  }

  pan(dx: number, dy: number): void {
    this.look({ ...this.view, x: this.view.x + dx, y: this.view.y + dy });
  }

  /** Into sight, by a short way; at once where motion is not welcome. */
  bring(rect: Rect): void {
    const to = sighted(this.view, rect, this.size);
    if (!to) return;
    cancelAnimationFrame(this.gliding);
    const [from, begun, length] = [this.view, performance.now(), still().matches ? 0 : GLIDE];
    const step = () => {
      const t = length ? Math.min(1, (performance.now() - begun) / length) : 1;
      this.look(between(from, to, t));
      if (t < 1) this.gliding = requestAnimationFrame(step);
    };
    step();
  }

  /** Several reasons within a frame cost one drawing. */
  draw(): void {
    this.asked ||= requestAnimationFrame(() => {
      this.asked = 0;
      this.drawNow();
    });
  }

  private drawNow(): void {
    const { w, h } = this.size;
    const g = setUp(this.canvas, w, h);
    if (!g) return;
    const { x, y, k } = this.view;
    // While it moves, the plane is moved as a picture; at rest it is drawn sharp.
    this.world.classList.add("moving");
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.world.classList.remove("moving"), REST);
    this.world.style.transform = `translate(${x}px, ${y}px) scale(${k})`;
    this.world.dataset.far = farness(k);
    clear(g, this.view);
    drawStrokes(g, this.view, this.shown.strokes, inkOf(this.frame), this.shown.bright, [w, h]);
  }

  /** Lights the boxes that the bright links touch. */
  private light(): void {
    const { bright, links, lit } = this.shown;
    // Nothing lit before and nothing now: nothing to do but draw.
    const was = this.world.dataset.focus;
    if (bright || was !== "no") {
      this.world.dataset.focus = bright ? "yes" : "no";
      const touched = new Set<string>(bright ? lit : []);
      for (const l of links)
        if (bright?.has(l.id)) for (const id of [l.from, l.to, `g\n${l.fromGroup}`, `g\n${l.toGroup}`]) touched.add(id);
      for (const part of this.world.querySelectorAll<HTMLElement>("[data-slot]"))
        part.classList.toggle("lit", touched.has(part.dataset.slot!));
    }
    this.draw();
  }

  /** The link at a point of the frame. */
  near(x: number, y: number): Link | null {
    const { k } = this.view;
    const [px, py] = [(x - this.view.x) / k, (y - this.view.y) / k];
    const reach = Math.max(5, 7 / k);
    let best = reach * reach;
    let found = -1;
    for (const [i, s] of this.shown.strokes.entries()) {
      const d = distance2(s.curve as Curve, px, py, reach);
      if (d < best) [best, found] = [d, i];
    }
    return this.shown.links[found] ?? null;
  }

  /** Dots that go along with the traffic, while motion is welcome. Returns how to stop. */
  animate(): () => void {
    const media = still();
    let id = 0;
    let last = 0;
    const step = (time: number) => {
      id = requestAnimationFrame(step);
      if (time - last < 33 || document.visibilityState !== "visible") return;
      last = time;
      this.drawDots(time / 1000);
    };
    const wipe = () => this.overlay.getContext("2d")?.clearRect(0, 0, this.overlay.width, this.overlay.height);
    const begin = () => {
      cancelAnimationFrame(id);
      wipe();
      if (!media.matches) id = requestAnimationFrame(step);
    };
    begin();
    media.addEventListener("change", begin);
    return () => {
      cancelAnimationFrame(id);
      media.removeEventListener("change", begin);
      wipe();
    };
  }

  private drawDots(seconds: number): void {
    const { w, h } = this.size;
    const g = setUp(this.overlay, w, h);
    if (!g) return;
    clear(g, this.view);
    const { links, strokes, bright, activity } = this.shown;
    const moving: (Stroke & { activity: number })[] = [];
    for (const [i, link] of links.entries()) {
      if (link.verdict === "deny" || link.verdict === "would-allow") continue;
      const bytes = activity(link);
      if (bytes > 0) moving.push({ ...strokes[i]!, activity: bytes });
      if (moving.length > MOST_MOVING) return;
    }
    dots(g, moving, inkOf(this.frame), seconds, (id) => (bright && !bright.has(id) ? 0.04 : 0.55));
  }

  /** Redraws when the look changes. Returns how to stop. */
  watchLook(): () => void {
    const media = matchMedia("(prefers-color-scheme: dark)");
    const again = () => this.draw();
    const watch = new MutationObserver(again);
    watch.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    media.addEventListener("change", again);
    return () => {
      watch.disconnect();
      media.removeEventListener("change", again);
    };
  }

  close(): void {
    cancelAnimationFrame(this.asked);
    cancelAnimationFrame(this.gliding);
    clearTimeout(this.rest);
  }
}
