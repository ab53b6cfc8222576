// Pointer, wheel and fingers on the map, as what they mean.
import type { Stage } from "./stage";
import type { Link } from "./graph";

export interface Meaning {
  /** Over a link, over a place, or over neither; where in the frame. */
  hover: (link: Link | null, slot: string | null, x: number, y: number) => void;
  /** A click that hit no box. */
  click: (link: Link | null) => void;
  lift: (group: string, dx: number, dy: number) => void;
  putDown: (group: string) => void;
}

/** A pointer that went less than this, pixels, has clicked. */
const CLICK = 4;

interface Drag {
  x: number;
  y: number;
  begun: { x: number; y: number };
  moved: boolean;
  group: string | null;
}

export class Hands {
  private readonly fingers = new Map<number, { x: number; y: number }>();
  private drag: Drag | null = null;
  private draggedAt = -1000;
  private readonly off: (() => void)[] = [];

  constructor(
    private readonly frame: HTMLElement,
    private readonly stage: Stage,
    private readonly means: Meaning,
  ) {
    this.on("pointerdown", (e) => this.down(e));
    this.on("pointermove", (e) => this.move(e));
    this.on("pointerup", (e) => this.up(e));
    this.on("pointercancel", (e) => this.up(e));
    this.on("pointerleave", () => this.means.hover(null, null, 0, 0));
    this.on("wheel", (e) => this.wheel(e), { passive: false });
  }

  close(): void {
    for (const off of this.off) off();
  }

  /** The click that ends a drag means nothing. */
  get hasJustDragged(): boolean {
    return performance.now() - this.draggedAt < 80;
  }

  private on<K extends keyof HTMLElementEventMap>(
    name: K,
    heard: (event: HTMLElementEventMap[K]) => void,
    options?: AddEventListenerOptions,
  ): void {
    this.frame.addEventListener(name, heard as EventListener, options);
    this.off.push(() => this.frame.removeEventListener(name, heard as EventListener));
  }

  private inFrame(event: MouseEvent): [number, number] {
    const r = this.frame.getBoundingClientRect();
    return [event.clientX - r.left, event.clientY - r.top];
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.stage.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), ...this.inFrame(event));
  }

  private down(event: PointerEvent): void {
    const target = event.target as HTMLElement;
    if (event.button !== 0 || target.closest(".map-tools, .card, .level")) return;
    const at = { x: event.clientX, y: event.clientY };
    this.fingers.set(event.pointerId, at);
    const head = target.closest<HTMLElement>(".group-head");
    const group = head?.closest<HTMLElement>("[data-group]")?.dataset.group ?? null;
    if (target.closest(".slot") && group === null) return;
    this.drag = { ...at, begun: at, moved: false, group };
  }

  private move(event: PointerEvent): void {
    if (this.pinch(event)) return;
    if (this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.drag) this.pull(event, this.drag);
    else if (event.pointerType !== "touch") this.point(event);
  }

  private pinch(event: PointerEvent): boolean {
    const own = this.fingers.get(event.pointerId);
    if (!own || this.fingers.size !== 2) return false;
    const other = [...this.fingers].find(([id]) => id !== event.pointerId)![1];
    const was = Math.hypot(own.x - other.x, own.y - other.y);
    const is = Math.hypot(event.clientX - other.x, event.clientY - other.y);
    this.fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const r = this.frame.getBoundingClientRect();
    this.stage.zoom(
      is / Math.max(1, was),
      (event.clientX + other.x) / 2 - r.left,
      (event.clientY + other.y) / 2 - r.top,
    );
    if (this.drag) this.drag.moved = true;
    return true;
  }

  private pull(event: PointerEvent, drag: Drag): void {
    if (!drag.moved && Math.hypot(event.clientX - drag.begun.x, event.clientY - drag.begun.y) < CLICK) return;
    if (!drag.moved) {
      drag.moved = true;
      this.frame.setPointerCapture(event.pointerId);
      this.means.hover(null, null, 0, 0);
    }
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    [drag.x, drag.y] = [event.clientX, event.clientY];
    const { k } = this.stage.view;
    if (drag.group !== null) this.means.lift(drag.group, dx / k, dy / k);
    else this.stage.pan(dx, dy);
  }

  private point(event: PointerEvent): void {
    const target = event.target as HTMLElement;
    const slot = target.closest<HTMLElement>("[data-slot]")?.dataset.slot ?? null;
    const [x, y] = this.inFrame(event);
    const link = slot || target.closest(".map-tools") ? null : this.stage.near(x, y);
    this.means.hover(link, slot, x, y);
  }

  private up(event: PointerEvent): void {
    this.fingers.delete(event.pointerId);
    const drag = this.drag;
    this.drag = null;
    if (!drag) return;
    if (drag.moved) {
      this.draggedAt = performance.now();
      if (drag.group !== null) this.means.putDown(drag.group);
    } else if (drag.group === null) {
      this.means.click(this.stage.near(...this.inFrame(event)));
    }
  }
}
