// From links to strokes. Routes hold as long as the same places are joined: traffic changes their ink only.
import { type Link, isRefused, width } from "./graph";
import type { Box } from "./layout";
import type { Slot } from "./places";
import { type Curve, openSpot, route } from "./curves";
import type { Stroke } from "./draw";

export class Router {
  private slots: ReadonlyMap<string, Slot> | null = null;
  private ids: string[] = [];
  private curves = new Map<string, Curve>();
  private marks = new Map<string, number>();

  strokes(links: readonly Link[], slots: ReadonlyMap<string, Slot>, boxes: ReadonlyMap<string, Box>): Stroke[] {
    const same =
      this.slots === slots && this.ids.length === links.length && links.every((l, i) => l.id === this.ids[i]);
    if (!same) this.routeAnew(links, slots, boxes);
    return links.map((l) => ({
      id: l.id,
      curve: this.curves.get(l.id)!,
      mark: this.marks.get(l.id) ?? 0.5,
      verdict: l.verdict,
      isNew: l.isNew,
      width: isRefused(l.verdict) || l.verdict === "would-allow" ? 1.5 : width(l.bytes),
    }));
  }

  private routeAnew(links: readonly Link[], slots: ReadonlyMap<string, Slot>, boxes: ReadonlyMap<string, Box>): void {
    // A link ends at the border of the group, at the height of the row it is about: there its arrow is seen.
    const end = (id: string) => {
      const own = slots.get(id)!;
      const outer = boxes.get(own.group)!.rect;
      return { x: outer.x, w: outer.w, y: own.y, h: own.h };
    };
    this.slots = slots;
    this.ids = links.map((l) => l.id);
    this.curves = route(
      links.map((l) => ({
        id: l.id,
        from: l.from,
        to: l.to,
        a: end(l.from),
        b: end(l.to),
        inside: l.fromGroup === l.toGroup,
      })),
    );
    const rects = [...boxes.values()].map((b) => b.rect);
    const taken: [number, number][] = [];
    const marked = links.filter((l) => l.verdict !== "allow");
    this.marks = new Map(marked.map((l) => [l.id, openSpot(this.curves.get(l.id)!, rects, taken)]));
  }
}
