// The drawing: boxes as elements (they are read, focused and named), links on a canvas beneath them, both in one plane that
// is moved and scaled. Updates of traffic change ink; only the person at the desk moves boxes.
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { TargetedFocusEvent, TargetedKeyboardEvent } from "preact";
import type { FlowMap } from "../api/types";
import type { LiveMap } from "./merge";
import { type Link, groups, links as linksOf, slot as slotIds } from "./graph";
import { bounds } from "./geometry";
import type { Box } from "./layout";
import { Places, nextSlot, slotsOf } from "./places";
import { fitted } from "./camera";
import { Router } from "./strokes";
import { Stage } from "./stage";
import { Hands, type Meaning } from "./hands";
import { chosen, matching, selOfLink, selOfSlot, touching } from "./select";
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

interface Hover {
  link: string | null;
  slot: string | null;
  x: number;
  y: number;
}

const NOWHERE: Hover = { link: null, slot: null, x: 0, y: 0 };
const WAYS: Record<string, readonly [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};
/** An arrow without a box moves the plane by so much, pixels. */
const NUDGE = 60;

export function Scene(props: Props) {
  const { sel, q, live, moving } = props;
  const frame = useRef<HTMLDivElement>(null);
  const { stage, size } = useStage(frame);
  const picture = usePicture(props, size);
  const { places, boxes, slots, links } = picture;
  const [hover, setHover] = useState(NOWHERE);
  const [lifted, setLifted] = useState<string | null>(null);
  const bySelection = useMemo(() => chosen(sel, links, live.map.services), [sel, links, live.map.services]);
  const bySearch = useSearch(q, links, live.map);
  const strokes = useMemo(() => picture.router.strokes(links, slots, boxes), [links, slots, boxes]);
  const touched = useMemo(() => (hover.slot ? touching(hover.slot, links) : null), [hover.slot, links]);

  useLayoutEffect(() => {
    const bright = hover.link ? new Set([hover.link]) : (touched ?? bySelection ?? bySearch);
    const own = hover.slot ? slots.get(hover.slot) : undefined;
    const lit = hover.slot ? [hover.slot, ...(own ? [slotIds.group(own.group)] : [])] : [];
    stage?.show({ links, strokes, bright, lit, activity: (link) => activityOf(live, link) });
  }, [stage, links, strokes, touched, hover.link, hover.slot, bySelection, bySearch, boxes, size, live]);
  useEffect(() => (moving ? stage?.animate() : undefined), [stage, moving]);
  useFirstSight(stage, places, boxes);
  useSelectionInSight(stage, sel, size, picture, bySelection);

  const hands = useHands(frame, stage, {
    hover: (link, slot, x, y) =>
      setHover((h) =>
        h.link === (link?.id ?? null) && h.slot === slot && !link ? h : { link: link?.id ?? null, slot, x, y },
      ),
    click: (link) => {
      setHover(NOWHERE);
      if (link) go({ sel: selOfLink(link) });
      else if (sel) go({ sel: null });
    },
    lift: (group, dx, dy) => {
      places?.move(group, dx, dy);
      setLifted(group);
      picture.again();
    },
    putDown: (group) => {
      places?.putDown(group);
      setLifted(null);
      picture.again();
    },
  });
  const onSlot = useCallback((id: string) => {
    if (!hands.current?.hasJustDragged) go({ sel: selOfSlot(id) });
  }, []);
  const onLevel = useCallback(
    (key: string, level: Level) => {
      const next = { ...props.levels };
      if (level === places?.level) delete next[key];
      else next[key] = level;
      go({ levels: next }, "replace");
    },
    [props.levels, places],
  );

  const onKeyDown = (event: TargetedKeyboardEvent<HTMLDivElement>) => {
    const own = (event.target as HTMLElement).closest<HTMLElement>("[data-slot]");
    const box = boxes.get(own?.closest<HTMLElement>("[data-group]")?.dataset.group ?? "");
    const way = WAYS[event.key];
    if (box && (event.key === "+" || event.key === "-")) {
      onLevel(box.group.key, Math.max(0, Math.min(2, box.level + (event.key === "+" ? 1 : -1))) as Level);
    } else if (way && own) {
      const next = nextSlot(slots, own.dataset.slot!, way);
      if (next)
        frame.current!.querySelector<HTMLElement>(`[data-slot="${CSS.escape(next)}"]`)?.focus({ preventScroll: true });
    } else if (way) stage?.pan(-way[0] * NUDGE, -way[1] * NUDGE);
    else return;
    event.preventDefault();
  };
  const onFocus = (event: TargetedFocusEvent<HTMLDivElement>) => {
    const element = event.target as HTMLElement;
    const id = element.closest<HTMLElement>("[data-slot]")?.dataset.slot;
    if (!id || !element.matches(":focus-visible")) return;
    setHover({ ...NOWHERE, slot: id });
    // Never scrolled by the browser: the plane is moved instead.
    frame.current!.scrollTo(0, 0);
    const rect = slots.get(id);
    if (rect) stage?.bring(rect);
  };

  const card = hover.link ? links.find((l) => l.id === hover.link) : undefined;
  return (
    <div
      class="scene"
      ref={frame}
      data-over={hover.link ? "link" : ""}
      onKeyDown={onKeyDown}
      onFocusIn={onFocus}
      onFocusOut={() => setHover(NOWHERE)}
      tabIndex={0}
      role="application"
      aria-label="Map of services. Arrow keys move between boxes, plus and minus open and close them, Enter shows details. The same data is in the table view."
    >
      <canvas class="links" aria-hidden="true" />
      <canvas class="traffic" aria-hidden="true" />
      <div class="world">
        {[...boxes.values()].map((box) => (
          <GroupBox
            key={box.group.key}
            box={box}
            lifted={lifted === box.group.key}
            sel={sel}
            onSlot={onSlot}
            onLevel={onLevel}
          />
        ))}
      </div>
      {card && size ? <LinkCard link={card} x={hover.x} y={hover.y} room={size} /> : null}
      <Tools stage={stage} boxes={boxes} tidy={picture.tidy} />
    </div>
  );
}

function Tools({ stage, boxes, tidy }: { stage: Stage | null; boxes: ReadonlyMap<string, Box>; tidy: () => void }) {
  const zoom = (factor: number) => stage?.zoom(factor, stage.size.w / 2, stage.size.h / 2);
  return (
    <div class="map-tools" role="toolbar" aria-label="View of the map">
      <button type="button" title="Zoom in" aria-label="Zoom in" onClick={() => zoom(1.25)}>
        <Icon name="plus" />
      </button>
      <button type="button" title="Zoom out" aria-label="Zoom out" onClick={() => zoom(0.8)}>
        <Icon name="minus" />
      </button>
      <button type="button" title="Show all" aria-label="Show all" onClick={() => stage?.look(whole(boxes, stage))}>
        <Icon name="fit" />
      </button>
      <button
        type="button"
        title="Tidy: forget where boxes were put and arrange them anew"
        aria-label="Tidy"
        onClick={tidy}
      >
        <Icon name="tidy" />
      </button>
    </div>
  );
}

const whole = (boxes: ReadonlyMap<string, Box>, stage: Stage) =>
  fitted(bounds([...boxes.values()].map((b) => b.rect)), stage.size);

/** Bytes of the last three seconds. */
function activityOf(live: LiveMap, link: Link): number {
  return link.edges.reduce((sum, e) => {
    const p = live.pulse.get(e.id);
    return p && p.at >= live.next - 3 ? sum + p.bytes : sum;
  }, 0);
}

// --- parts of the scene that live as long as it

function useStage(frame: { readonly current: HTMLDivElement | null }) {
  const [stage, setStage] = useState<Stage | null>(null);
  const [size, setSize] = useState<{ w: number; h: number } | null>(null);
  useLayoutEffect(() => {
    const element = frame.current!;
    const find = <T extends HTMLElement>(selector: string) => element.querySelector<T>(selector)!;
    const made = new Stage(
      element,
      find(".world"),
      find<HTMLCanvasElement>("canvas.links"),
      find<HTMLCanvasElement>("canvas.traffic"),
    );
    setStage(made);
    const watch = new ResizeObserver(() => setSize(made.size));
    watch.observe(element);
    const off = made.watchLook();
    return () => {
      off();
      watch.disconnect();
      made.close();
    };
  }, []);
  return { stage, size };
}

/** What stands where, and what joins it. */
function usePicture({ network, live, map, by, levels }: Props, size: { w: number; h: number } | null) {
  const [turn, setTurn] = useState(0);
  const kept = useRef<Places | null>(null);
  const [router] = useState(() => new Router());
  const { nodes, services, edges } = live.map;
  const strangers = useMemo(
    () =>
      [...new Set(edges.flatMap((e) => [e.from, e.to]).flatMap((end) => (end.node ? [] : [end.address ?? ""])))]
        .sort()
        .join("\n"),
    [edges],
  );
  const list = useMemo(() => groups(live.map, by), [nodes, services, strangers, by]);
  const boxes = useMemo(() => {
    if (!size) return new Map<string, Box>();
    if (kept.current?.id !== Places.idOf(network, by)) kept.current = Places.of(network, by, live.map, list, size);
    return kept.current.arrange(live.map, list, levels);
  }, [list, levels, network, by, size !== null, turn]);
  const slots = useMemo(() => slotsOf(boxes), [boxes]);
  const links = useMemo(() => {
    const all = linksOf(
      map,
      list,
      (key) => boxes.get(key)?.level ?? 0,
      (id) => slots.has(id),
    );
    // What stays inside a closed box is told in its sheet; only a refusal is drawn.
    return all.filter((l) => slots.has(l.from) && slots.has(l.to) && (l.from !== l.to || l.verdict !== "allow"));
  }, [map, list, boxes, slots]);
  const again = () => setTurn((n) => n + 1);
  const tidy = () => {
    kept.current?.forget();
    kept.current = null;
    go({ levels: {} }, "replace");
    again();
  };
  return { places: kept.current, boxes, slots, links, router, again, tidy };
}

function useSearch(q: string, links: readonly Link[], map: FlowMap): Set<string> | null {
  const tags = useMemo(() => new Map(map.nodes.map((n) => [n.id, n.tags.join(" ")])), [map.nodes]);
  return useMemo(() => matching(q, links, (id) => tags.get(id) ?? ""), [q, links, tags]);
}

/** The first picture of a network, of a grouping, and of a new plan is shown whole. */
function useFirstSight(stage: Stage | null, places: Places | null, boxes: ReadonlyMap<string, Box>): void {
  const seen = useRef<Places | null>(null);
  useLayoutEffect(() => {
    if (!stage || !places || !boxes.size || seen.current === places) return;
    seen.current = places;
    stage.look(whole(boxes, stage));
  }, [stage, places, boxes]);
}

/** What is selected comes into sight, with its other ends; once, and again when the room has changed. */
function useSelectionInSight(
  stage: Stage | null,
  sel: string | null,
  size: { w: number; h: number } | null,
  { boxes, slots, links }: ReturnType<typeof usePicture>,
  bright: Set<string> | null,
): void {
  const done = useRef("");
  useLayoutEffect(() => {
    const key = sel && size ? `${sel} ${size.w} ${size.h}` : "";
    if (!key || !stage || !boxes.size || done.current === key) return void (done.current = key && done.current);
    done.current = key;
    const touched = links.filter((l) => bright?.has(l.id)).flatMap((l) => [l.fromGroup, l.toGroup]);
    const own = [...slots].filter(([id]) => selOfSlot(id) === sel).map(([, s]) => s.group);
    const rects = [...new Set([...touched, ...own])].flatMap((g) => boxes.get(g)?.rect ?? []);
    if (rects.length) stage.bring(bounds(rects));
  }, [stage, sel, size, boxes, slots]);
}

function useHands(frame: { readonly current: HTMLDivElement | null }, stage: Stage | null, meaning: Meaning) {
  const hands = useRef<Hands | null>(null);
  const latest = useRef(meaning);
  latest.current = meaning;
  useEffect(() => {
    if (!stage) return;
    const made = new Hands(frame.current!, stage, {
      hover: (...a) => latest.current.hover(...a),
      click: (...a) => latest.current.click(...a),
      lift: (...a) => latest.current.lift(...a),
      putDown: (...a) => latest.current.putDown(...a),
    });
    hands.current = made;
    return () => made.close();
  }, [stage]);
  return hands;
}
