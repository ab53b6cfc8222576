// The drawing: boxes as elements (they are read, focused and named), links on a canvas beneath them, both in one plane that
// is moved and scaled. Updates of traffic change ink; only the person at the desk moves boxes.
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { TargetedFocusEvent, TargetedKeyboardEvent, TargetedPointerEvent } from "preact";
import type { FlowMap } from "../api/types";
import type { LiveMap } from "./merge";
import { type Group, type Link, groups, links as linksOf, width } from "./graph";
import { type Box, type Spots, arrange, bounds, drop, join, measure, plan } from "./layout";
import { type Curve, distance2, openSpot, route } from "./curves";
import { type Stroke, type View, clear, dots, inkOf, setUp, strokes as drawStrokes } from "./draw";
import { chosen, matching, selOfLink, selOfSlot, touching } from "./select";
import { forget, recall, remember } from "./memory";
import { GroupBox } from "./GroupBox";
import { LinkCard } from "./LinkCard";
import { Icon } from "../ui/icons";
import { go } from "../state/live";
import type { Grouping, Level } from "../state/url";

interface Props {
  network: string;
  live: LiveMap;
  /** With only the edges that the filters leave. */
  map: FlowMap;
  by: Grouping;
  levels: Record<string, Level>;
  sel: string | null;
  q: string;
  /** Traffic moves only while it is live. */
  moving: boolean;
}

interface Plan {
  id: string;
  level: Level;
  spots: Spots;
}

const K_MIN = 0.12;
const K_MAX = 2.2;
/** Smaller than this nobody reads a service's name. */
const LEGIBLE = 0.72;

function pullsOf(map: FlowMap, list: readonly Group[]) {
  return linksOf(map, list, () => 0).map((l) => ({ from: l.fromGroup, to: l.toGroup, weight: (l.verdict === "allow" ? 1 : 0.3) * Math.sqrt(l.edges.length) }));
}

/** A first plan: as much detail as fits the window and can be read. */
function planned(map: FlowMap, list: readonly Group[], by: Grouping, room: { w: number; h: number }, id: string): Plan {
  const pulls = pullsOf(map, list);
  const aspect = Math.max(0.5, Math.min(2.6, (room.w / Math.max(1, room.h)) * 1.05));
  const at = (level: Level) => plan(list.map((g) => ({ key: g.key, ...sizeOf(g, level) })), pulls, aspect);
  for (const level of (by === "site" ? [2, 1, 0] : [1, 0]) as Level[]) {
    const spots = at(level);
    const b = bounds(Object.values(spots));
    if (level === 0 || Math.min(room.w / (b.w + 80), room.h / (b.h + 80)) >= LEGIBLE) return { id, level, spots };
  }
  return { id, level: 0, spots: at(0) };
}

/** The picture this browser last saw: what grew since then moves nobody. */
function remembered(list: readonly Group[], { level, spots }: Plan): Map<string, Box> {
  return new Map(list.flatMap((group) => (spots[group.key] ? [[group.key, { group, level, rect: spots[group.key]!, slots: new Map(), hidden: 0 }] as const] : [])));
}

function sizeOf(group: Group, level: Level) {
  const { w, h } = measure(group, level);
  return { w, h };
}

export function Scene({ network, live, map, by, levels, sel, q, moving }: Props) {
  const frame = useRef<HTMLDivElement>(null);
  const world = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const overlay = useRef<HTMLCanvasElement>(null);
  const view = useRef<View>({ x: 0, y: 0, k: 1 });
  const [size, setSize] = useState<{ w: number; h: number } | null>(null);
  const planRef = useRef<Plan | null>(null);
  const before = useRef<Map<string, Box> | null>(null);
  const [turn, setTurn] = useState(0);
  const [lifted, setLifted] = useState<string | null>(null);
  const [card, setCard] = useState<{ id: string; x: number; y: number } | null>(null);
  const hover = useRef<{ link: string | null; slot: string | null }>({ link: null, slot: null });
  const fitted = useRef("");

  useLayoutEffect(() => {
    const element = frame.current!;
    const watch = new ResizeObserver(() => setSize({ w: element.clientWidth, h: element.clientHeight }));
    watch.observe(element);
    return () => watch.disconnect();
  }, []);

  // --- what stands where
  const strangers = useMemo(() => live.map.edges.flatMap((e) => [e.from, e.to]).filter((end) => !end.node).map((end) => end.address ?? "").sort().filter((a, i, all) => a !== all[i - 1]).join("\n"), [live.map.edges]);
  const list = useMemo(() => groups(live.map, by), [live.map.nodes, live.map.services, strangers, by]);
  const planId = `${network} ${by}`;
  const boxes = useMemo(() => {
    if (!size) return new Map<string, Box>();
    if (planRef.current?.id !== planId) {
      const known = recall(network, by);
      const old = known && list.some((g) => known.spots[g.key]);
      planRef.current = old ? { id: planId, ...known } : planned(live.map, list, by, size, planId);
      before.current = old ? remembered(list, planRef.current) : null;
    }
    const now = planRef.current;
    const level = (key: string): Level => levels[key] ?? now.level;
    // Newcomers stand beside those they talk to.
    const fresh = list.filter((g) => !now.spots[g.key]);
    if (fresh.length) {
      const pulls = pullsOf(live.map, list);
      const known = before.current ?? arrange(list, level, now.spots, null);
      const rects = new Map([...known].map(([key, box]) => [key, box.rect]));
      for (const group of fresh) {
        const friends = pulls.flatMap((p) => (p.from === group.key ? [p.to] : p.to === group.key ? [p.from] : [])).flatMap((key) => rects.get(key) ?? []);
        const own = sizeOf(group, level(group.key));
        const spot = { ...join(own, friends, [...rects.values()]), ...own };
        now.spots[group.key] = spot;
        rects.set(group.key, spot);
      }
    }
    const made = arrange(list, level, now.spots, before.current);
    before.current = made;
    remember(network, by, { level: now.level, spots: now.spots });
    return made;
  }, [list, levels, planId, size !== null, turn]);

  const slots = useMemo(() => {
    const all = new Map<string, { x: number; y: number; w: number; h: number; group: string }>();
    for (const box of boxes.values()) for (const [id, r] of box.slots) all.set(id, { x: box.rect.x + r.x, y: box.rect.y + r.y, w: r.w, h: r.h, group: box.group.key });
    return all;
  }, [boxes]);

  const links = useMemo(() => {
    const level = (key: string): Level => boxes.get(key)?.level ?? 0;
    return linksOf(map, list, level, (id) => slots.has(id)).filter((l) => slots.has(l.from) && slots.has(l.to) && (l.from !== l.to || l.verdict !== "allow"));
  }, [map, list, boxes, slots]);

  // Routes hold as long as the same places are joined: traffic changes their ink only.
  const routed = useRef<{ slots: unknown; ids: string[]; curves: Map<string, Curve>; marks: Map<string, number> }>({ slots: null, ids: [], curves: new Map(), marks: new Map() });
  const strokes = useMemo((): Stroke[] => {
    const r = routed.current;
    if (r.slots !== slots || r.ids.length !== links.length || links.some((l, i) => l.id !== r.ids[i])) {
      // A link ends at the border of the group, at the height of the row it is about: there its arrow is seen.
      const ends = (id: string) => {
        const own = slots.get(id)!;
        const outer = boxes.get(own.group)!.rect;
        return { x: outer.x, w: outer.w, y: own.y, h: own.h };
      };
      const wires = links.map((l) => ({ id: l.id, from: l.from, to: l.to, a: ends(l.from), b: ends(l.to), inside: l.fromGroup === l.toGroup }));
      const curves = route(wires);
      const rects = [...boxes.values()].map((b) => b.rect);
      const taken: [number, number][] = [];
      const marks = new Map(links.flatMap((l) => (l.verdict === "allow" ? [] : [[l.id, openSpot(curves.get(l.id)!, rects, taken)] as const])));
      routed.current = { slots, ids: links.map((l) => l.id), curves, marks };
    }
    return links.map((l) => ({
      id: l.id, curve: routed.current.curves.get(l.id)!, mark: routed.current.marks.get(l.id) ?? 0.5, verdict: l.verdict, isNew: l.isNew,
      width: l.verdict === "deny" || l.verdict === "would-allow" ? 1.5 : width(l.bytes),
    }));
  }, [links, slots]);

  const tagsOf = useMemo(() => {
    const tags = new Map(live.map.nodes.map((n) => [n.id, n.tags.join(" ")]));
    return (id: string) => tags.get(id) ?? "";
  }, [live.map.nodes]);
  const bySelection = useMemo(() => chosen(sel, links), [sel, links]);
  const bySearch = useMemo(() => matching(q, links, tagsOf), [q, links, tagsOf]);

  // --- drawing
  const state = useRef({ links, strokes, bySelection, bySearch, live, slots });
  state.current = { links, strokes, bySelection, bySearch, live, slots };

  const bright = (): Set<string> | null => {
    const s = state.current;
    if (hover.current.link) return new Set([hover.current.link]);
    if (hover.current.slot) return touching(hover.current.slot, s.links);
    return s.bySelection ?? s.bySearch;
  };

  const asked = useRef(0);
  const rest = useRef<ReturnType<typeof setTimeout>>(undefined);
  const draw = useCallback(() => {
    if (asked.current) return;
    asked.current = requestAnimationFrame(() => {
      asked.current = 0;
      const element = frame.current;
      const target = canvas.current;
      if (!element || !target || !world.current) return;
      const area: [number, number] = [element.clientWidth, element.clientHeight];
      const g = setUp(target, ...area);
      if (!g) return;
      const { x, y, k } = view.current;
      // While it moves, the plane is moved as a picture; at rest it is drawn sharp.
      world.current.classList.add("moving");
      clearTimeout(rest.current);
      rest.current = setTimeout(() => world.current?.classList.remove("moving"), 160);
      world.current.style.transform = `translate(${x}px, ${y}px) scale(${k})`;
      world.current.dataset.far = k < 0.42 ? "very" : k < 0.74 ? "yes" : "no";
      clear(g, view.current);
      drawStrokes(g, view.current, state.current.strokes, inkOf(element), bright(), area);
    });
  }, []);

  /** Lights the boxes that the bright links touch. */
  const light = useCallback(() => {
    const element = world.current;
    if (!element) return;
    const set = bright();
    // Nothing lit before and nothing now: nothing to do but draw.
    if (!set && element.dataset.focus === "no") return draw();
    element.dataset.focus = set ? "yes" : "no";
    const lit = new Set<string>();
    if (set) {
      for (const l of state.current.links) if (set.has(l.id)) for (const id of [l.from, l.to, `g\n${l.fromGroup}`, `g\n${l.toGroup}`]) lit.add(id);
      if (hover.current.slot) {
        lit.add(hover.current.slot);
        const own = state.current.slots.get(hover.current.slot);
        if (own) lit.add(`g\n${own.group}`);
      }
    }
    for (const part of element.querySelectorAll<HTMLElement>("[data-slot]")) part.classList.toggle("lit", lit.has(part.dataset.slot!));
    draw();
  }, [draw]);

  useLayoutEffect(light, [strokes, bySelection, bySearch, boxes, size]);
  useEffect(() => {
    const media = [matchMedia("(prefers-color-scheme: dark)")];
    const watch = new MutationObserver(draw);
    watch.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    for (const m of media) m.addEventListener("change", draw);
    return () => {
      watch.disconnect();
      for (const m of media) m.removeEventListener("change", draw);
    };
  }, [draw]);

  const fit = useCallback(() => {
    const element = frame.current;
    if (!element || !before.current?.size) return;
    const b = bounds([...before.current.values()].map((box) => box.rect));
    const small = element.clientWidth < 700;
    const [px, top, bottom] = small ? [26, 56, 40] : [48, 64, 48];
    const w = element.clientWidth - 2 * px;
    const h = element.clientHeight - top - bottom;
    const k = Math.max(K_MIN, Math.min(1.2, w / b.w, h / b.h));
    view.current = { k, x: px + (w - b.w * k) / 2 - b.x * k, y: top + (h - b.h * k) / 2 - b.y * k };
    draw();
  }, [draw]);

  // The first picture of a network, and of a grouping, is shown whole.
  useLayoutEffect(() => {
    if (!size || !boxes.size || fitted.current === planId) return;
    fitted.current = planId;
    fit();
  }, [size, boxes, planId, fit]);

  // What is selected comes into sight, with its other ends if there is room; nothing moves if it is in sight already.
  const shownFor = useRef("");
  useLayoutEffect(() => {
    const element = frame.current;
    if (!element || !size || !sel || !boxes.size) {
      if (!sel) shownFor.current = "";
      return;
    }
    const key = `${sel} ${size.w} ${size.h}`;
    if (shownFor.current === key) return;
    shownFor.current = key;
    const set = state.current.bySelection;
    const touched = state.current.links.filter((l) => set?.has(l.id)).flatMap((l) => [l.fromGroup, l.toGroup]);
    const own = [...slots].filter(([id]) => selOfSlot(id) === sel).map(([, r]) => r.group);
    const rects = [...new Set([...touched, ...own])].flatMap((g) => boxes.get(g)?.rect ?? []);
    if (!rects.length) return;
    const b = bounds(rects);
    const v = view.current;
    const [left, top, right, bottom] = [24, 60, size.w - 24, size.h - 24];
    const inSight = b.x * v.k + v.x >= left && b.y * v.k + v.y >= top && (b.x + b.w) * v.k + v.x <= right && (b.y + b.h) * v.k + v.y <= bottom;
    if (inSight) return;
    const k = Math.max(0.5, Math.min(v.k, (right - left) / b.w, (bottom - top) / b.h));
    const slide = (at: number, length: number, now: number, from: number, to: number) => {
      if (length * k > to - from) return (from + to) / 2 - (at + length / 2) * k;
      return Math.max(from - at * k, Math.min(to - (at + length) * k, now));
    };
    // Scaled about the middle, then slid no farther than needed.
    const [cx, cy] = [size.w / 2, size.h / 2];
    const moved = { x: cx - ((cx - v.x) * k) / v.k, y: cy - ((cy - v.y) * k) / v.k };
    glide({ k, x: slide(b.x, b.w, moved.x, left, right), y: slide(b.y, b.h, moved.y, top, bottom) });
  }, [sel, size, boxes, slots]);

  const gliding = useRef(0);
  /** A short way to another view; at once where motion is not welcome. */
  const glide = (to: View) => {
    cancelAnimationFrame(gliding.current);
    const from = { ...view.current };
    const begun = performance.now();
    const length = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 180;
    const step = () => {
      const t = length ? Math.min(1, (performance.now() - begun) / length) : 1;
      const e = 1 - (1 - t) ** 3;
      view.current = { k: from.k + (to.k - from.k) * e, x: from.x + (to.x - from.x) * e, y: from.y + (to.y - from.y) * e };
      draw();
      if (t < 1) gliding.current = requestAnimationFrame(step);
    };
    step();
  };

  // --- movement of traffic
  useEffect(() => {
    const target = overlay.current;
    if (!target) return;
    const still = matchMedia("(prefers-reduced-motion: reduce)");
    let frameId = 0;
    let last = 0;
    const step = (time: number) => {
      frameId = requestAnimationFrame(step);
      if (time - last < 33 || document.visibilityState !== "visible") return;
      last = time;
      const element = frame.current;
      if (!element) return;
      const g = setUp(target, element.clientWidth, element.clientHeight);
      if (!g) return;
      clear(g, view.current);
      const s = state.current;
      const newest = s.live.next - 3;
      const active: (Stroke & { activity: number })[] = [];
      for (const [i, link] of s.links.entries()) {
        if (link.verdict === "deny" || link.verdict === "would-allow") continue;
        let activity = 0;
        for (const e of link.edges) {
          const p = s.live.pulse.get(e.id);
          if (p && p.at >= newest) activity += p.bytes;
        }
        if (activity > 0) active.push({ ...s.strokes[i]!, activity });
        if (active.length > 300) return;
      }
      const set = bright();
      dots(g, active, inkOf(element), time / 1000, (id) => (set && !set.has(id) ? 0.04 : 0.55));
    };
    const begin = () => {
      cancelAnimationFrame(frameId);
      if (moving && !still.matches) frameId = requestAnimationFrame(step);
      else target.getContext("2d")?.clearRect(0, 0, target.width, target.height);
    };
    begin();
    still.addEventListener("change", begin);
    return () => {
      cancelAnimationFrame(frameId);
      still.removeEventListener("change", begin);
    };
  }, [moving]);

  // --- pointer
  const toWorld = (x: number, y: number) => ({ x: (x - view.current.x) / view.current.k, y: (y - view.current.y) / view.current.k });
  const near = (x: number, y: number): Link | null => {
    const p = toWorld(x, y);
    const reach = Math.max(5, 7 / view.current.k);
    let best = reach * reach;
    let found = -1;
    for (const [i, s] of strokes.entries()) {
      const d = distance2(s.curve, p.x, p.y, reach);
      if (d < best) [best, found] = [d, i];
    }
    return links[found] ?? null;
  };

  const zoom = useCallback((factor: number, x: number, y: number) => {
    const v = view.current;
    const k = Math.max(K_MIN, Math.min(K_MAX, v.k * factor));
    view.current = { k, x: x - ((x - v.x) * k) / v.k, y: y - ((y - v.y) * k) / v.k };
    draw();
  }, [draw]);

  useEffect(() => {
    const element = frame.current!;
    const onWheel = (event: WheelEvent) => {
      event.preventDefault();
      const r = element.getBoundingClientRect();
      const unit = event.deltaMode === 1 ? 16 : 1;
      zoom(Math.exp(-event.deltaY * unit * (event.ctrlKey ? 0.01 : 0.0016)), event.clientX - r.left, event.clientY - r.top);
    };
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => element.removeEventListener("wheel", onWheel);
  }, [zoom]);

  const fingers = useRef(new Map<number, { x: number; y: number }>());
  const drag = useRef<{ x: number; y: number; moved: boolean; group: string | null; from: { x: number; y: number } } | null>(null);

  const onPointerDown = (event: TargetedPointerEvent<HTMLDivElement>) => {
    if (event.button !== 0) return;
    const target = event.target as HTMLElement;
    if (target.closest(".map-tools, .card, .level")) return;
    fingers.current.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const head = target.closest<HTMLElement>(".group-head, .group.small");
    const group = head?.closest<HTMLElement>("[data-group]")?.dataset.group ?? null;
    if (target.closest(".slot") && !group) return;
    drag.current = { x: event.clientX, y: event.clientY, moved: false, group, from: { x: event.clientX, y: event.clientY } };
  };

  const onPointerMove = (event: TargetedPointerEvent<HTMLDivElement>) => {
    const element = frame.current!;
    const r = element.getBoundingClientRect();
    const known = fingers.current.get(event.pointerId);
    if (known && fingers.current.size === 2) {
      const other = [...fingers.current].find(([id]) => id !== event.pointerId)![1];
      const was = Math.hypot(known.x - other.x, known.y - other.y);
      const is = Math.hypot(event.clientX - other.x, event.clientY - other.y);
      fingers.current.set(event.pointerId, { x: event.clientX, y: event.clientY });
      zoom(is / Math.max(1, was), (event.clientX + other.x) / 2 - r.left, (event.clientY + other.y) / 2 - r.top);
      if (drag.current) drag.current.moved = true;
      return;
    }
    if (known) fingers.current.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const d = drag.current;
    if (d) {
      const [dx, dy] = [event.clientX - d.x, event.clientY - d.y];
      if (!d.moved && Math.hypot(event.clientX - d.from.x, event.clientY - d.from.y) < 4) return;
      if (!d.moved) {
        d.moved = true;
        element.setPointerCapture(event.pointerId);
      }
      [d.x, d.y] = [event.clientX, event.clientY];
      if (d.group) {
        setLifted(d.group);
        moveGroup(d.group, dx / view.current.k, dy / view.current.k);
      } else {
        view.current = { ...view.current, x: view.current.x + dx, y: view.current.y + dy };
        draw();
      }
      if (card) setCard(null);
      return;
    }
    if (event.pointerType === "touch") return;
    const target = event.target as HTMLElement;
    const slot = target.closest<HTMLElement>("[data-slot]")?.dataset.slot ?? null;
    const link = slot || target.closest(".map-tools") ? null : near(event.clientX - r.left, event.clientY - r.top);
    setHover(link?.id ?? null, slot, event.clientX - r.left, event.clientY - r.top);
  };

  const setHover = (link: string | null, slot: string | null, x: number, y: number) => {
    const changed = hover.current.link !== link || hover.current.slot !== slot;
    hover.current = { link, slot };
    if (changed) light();
    setCard(link ? { id: link, x, y } : null);
    frame.current!.dataset.over = link ? "link" : "";
  };

  const moveGroup = (key: string, dx: number, dy: number) => {
    const spot = planRef.current?.spots[key];
    const box = before.current?.get(key);
    if (!spot || !box) return;
    // The place it has on the screen becomes its place.
    planRef.current!.spots[key] = { ...spot, x: box.rect.x + dx, y: box.rect.y + dy };
    const kept = new Map(before.current!);
    kept.set(key, { ...box, rect: { ...box.rect, x: box.rect.x + dx, y: box.rect.y + dy } });
    before.current = kept;
    setTurn((n) => n + 1);
  };

  const putDown = (key: string) => {
    const box = before.current?.get(key);
    if (!box) return;
    const at = drop(box.rect, [...before.current!.values()].filter((b) => b !== box).map((b) => b.rect));
    moveGroup(key, at.x - box.rect.x, at.y - box.rect.y);
    setLifted(null);
  };

  const onPointerUp = (event: TargetedPointerEvent<HTMLDivElement>) => {
    fingers.current.delete(event.pointerId);
    const d = drag.current;
    drag.current = null;
    if (d?.moved && d.group) putDown(d.group);
    if (!d || d.moved) {
      if (d?.moved) swallow.current = performance.now();
      return;
    }
    if (d.group) return;
    const r = frame.current!.getBoundingClientRect();
    const link = near(event.clientX - r.left, event.clientY - r.top);
    setCard(null);
    if (link) go({ sel: selOfLink(link) });
    else if (sel) go({ sel: null });
  };
  /** The click that ends a drag selects nothing. */
  const swallow = useRef(-1000);

  const onSlot = useCallback((id: string) => {
    if (performance.now() - swallow.current < 80) return;
    go({ sel: selOfSlot(id) });
  }, []);

  const onLevel = useCallback((key: string, level: Level) => {
    const next = { ...levels };
    if (level === planRef.current?.level) delete next[key];
    else next[key] = level;
    go({ levels: next }, "replace");
  }, [levels]);

  // --- keys: arrows go to the next box in that direction, + and - open and close it
  const onKeyDown = (event: TargetedKeyboardEvent<HTMLDivElement>) => {
    const own = (event.target as HTMLElement).closest<HTMLElement>("[data-slot]");
    const box = own?.closest<HTMLElement>("[data-group]");
    if (own && box && (event.key === "+" || event.key === "-")) {
      event.preventDefault();
      const b = boxes.get(box.dataset.group!)!;
      const to = Math.max(0, Math.min(2, b.level + (event.key === "+" ? 1 : -1))) as Level;
      onLevel(b.group.key, to);
      return;
    }
    const ways: Record<string, readonly [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const way = ways[event.key];
    if (!way) return;
    event.preventDefault();
    if (!own) {
      view.current = { ...view.current, x: view.current.x - way[0] * 60, y: view.current.y - way[1] * 60 };
      draw();
      return;
    }
    const a = slots.get(own.dataset.slot!);
    if (!a) return;
    let best = Infinity;
    let found: string | null = null;
    for (const [id, b] of slots) {
      if (id === own.dataset.slot) continue;
      const dx = b.x + b.w / 2 - a.x - a.w / 2;
      const dy = b.y + b.h / 2 - a.y - a.h / 2;
      const along = dx * way[0] + dy * way[1];
      const across = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
      if (along <= 4 || across > along * 2.5) continue;
      const d = along + across * 2;
      if (d < best) [best, found] = [d, id];
    }
    if (found) world.current!.querySelector<HTMLElement>(`[data-slot="${CSS.escape(found)}"]`)?.focus({ preventScroll: true });
  };

  const onFocus = (event: TargetedFocusEvent<HTMLDivElement>) => {
    const element = event.target as HTMLElement;
    const slot = element.closest<HTMLElement>("[data-slot]")?.dataset.slot;
    if (!slot || !element.matches(":focus-visible")) return;
    hover.current = { link: null, slot };
    light();
    // Never scrolled by the browser: the plane is moved instead.
    frame.current!.scrollTo(0, 0);
    const r = slots.get(slot);
    const f = frame.current!;
    if (!r) return;
    const v = view.current;
    const [x, y] = [r.x * v.k + v.x, r.y * v.k + v.y];
    if (x < 20 || y < 60 || x + r.w * v.k > f.clientWidth - 20 || y + r.h * v.k > f.clientHeight - 60) {
      view.current = { ...v, x: f.clientWidth / 2 - (r.x + r.w / 2) * v.k, y: f.clientHeight / 2 - (r.y + r.h / 2) * v.k };
      draw();
    }
  };

  const tidy = () => {
    forget(network, by);
    planRef.current = null;
    before.current = null;
    fitted.current = "";
    go({ levels: {} }, "replace");
    setTurn((n) => n + 1);
  };

  const shown = card && links.find((l) => l.id === card.id);
  return (
    <div
      class="scene" ref={frame} onPointerDown={onPointerDown} onPointerMove={onPointerMove} onPointerUp={onPointerUp} onPointerCancel={onPointerUp}
      onPointerLeave={() => setHover(null, null, 0, 0)} onKeyDown={onKeyDown} onFocusIn={onFocus} onFocusOut={() => { hover.current = { link: null, slot: null }; light(); }}
      tabIndex={0} role="application" aria-label="Map of services. Arrow keys move between boxes, plus and minus open and close them, Enter shows details. The same data is in the table view."
    >
      <canvas ref={canvas} class="links" aria-hidden="true" />
      <canvas ref={overlay} class="traffic" aria-hidden="true" />
      <div class="world" ref={world}>
        {[...boxes.values()].map((box) => (
          <GroupBox key={box.group.key} box={box} lifted={lifted === box.group.key} sel={sel} onSlot={onSlot} onLevel={onLevel} />
        ))}
      </div>
      {shown && card ? <LinkCard link={shown} x={card.x} y={card.y} room={size!} /> : null}
      <div class="map-tools" role="toolbar" aria-label="View of the map">
        <button type="button" title="Zoom in" aria-label="Zoom in" onClick={() => zoom(1.25, size!.w / 2, size!.h / 2)}><Icon name="plus" /></button>
        <button type="button" title="Zoom out" aria-label="Zoom out" onClick={() => zoom(0.8, size!.w / 2, size!.h / 2)}><Icon name="minus" /></button>
        <button type="button" title="Show all" aria-label="Show all" onClick={fit}><Icon name="fit" /></button>
        <button type="button" title="Tidy: forget where boxes were put and arrange them anew" aria-label="Tidy" onClick={tidy}><Icon name="tidy" /></button>
      </div>
    </div>
  );
}
