// How large a group is at each level, and where its parts stand in it. Pure.
import type { Level } from "../state/url";
import type { Rect } from "./geometry";
import { type Group, OUTSIDE, slot } from "./graph";

const HEAD = 38;
const ROW = 28;
const GAP = 5;
const PAD = 9;
const W = 204;
const INNER = W - 2 * PAD;
/** The size of a group and the places inside it; `room` is the greatest height it may have. */
export function measure(
  group: Group,
  level: Level,
  room = Infinity,
): { w: number; h: number; slots: Map<string, Rect>; hidden: number } {
  const slots = new Map<string, Rect>();
  if (level === 0 || (!group.services.length && group.kind !== OUTSIDE && level === 1)) {
    slots.set(slot.group(group.key), { x: 0, y: 0, w: W, h: 52 });
    return { w: W, h: 52, slots, hidden: 0 };
  }
  if (level === 1 || group.kind === "node" || group.kind === "outside") {
    const rows =
      group.kind === "outside"
        ? group.addresses.map((a) => slot.address(a))
        : group.services.map((s) => slot.service(group.key, s.name));
    return column(group, rows, room, slots);
  }
  return nodesOf(group, room, slots);
}

function column(group: Group, rows: string[], room: number, slots: Map<string, Rect>) {
  const columns = rows.length > 14 ? 2 : 1;
  const per = Math.ceil(rows.length / columns);
  const fit = Math.max(0, Math.min(per, Math.floor((room - HEAD - PAD + GAP) / (ROW + GAP))));
  let hidden = 0;
  for (const [i, id] of rows.entries()) {
    const row = i % per;
    if (row >= fit) hidden += 1;
    else slots.set(id, { x: PAD + Math.floor(i / per) * (INNER + GAP), y: HEAD + row * (ROW + GAP), w: INNER, h: ROW });
  }
  const w = W + (columns - 1) * (INNER + GAP);
  slots.set(slot.group(group.key), { x: 0, y: 0, w, h: HEAD });
  return { w, h: HEAD + fit * (ROW + GAP) - GAP + PAD, slots, hidden };
}

const NODE_HEAD = 28;
const NODE_ROW = 22;

function nodesOf(group: Group, room: number, slots: Map<string, Rect>) {
  const offers = (id: string) => group.services.filter((s) => s.nodes.includes(id));
  const columns = Math.max(1, Math.min(4, Math.ceil(Math.sqrt(group.nodes.length / 3))));
  const tops = Array.from({ length: columns }, () => HEAD);
  let hidden = 0;
  for (const node of group.nodes) {
    const own = offers(node.id);
    const h = NODE_HEAD + (own.length ? own.length * NODE_ROW + 4 : 0);
    const c = tops.indexOf(Math.min(...tops));
    const y = tops[c]!;
    if (y + h + PAD > room) {
      hidden += 1;
      continue;
    }
    const x = PAD + c * (INNER + GAP);
    slots.set(slot.node(node.id), { x, y, w: INNER, h: own.length ? NODE_HEAD : h });
    for (const [i, service] of own.entries())
      slots.set(slot.at(node.id, service.name), {
        x: x + 5,
        y: y + NODE_HEAD + i * NODE_ROW,
        w: INNER - 10,
        h: NODE_ROW - 2,
      });
    tops[c] = y + h + GAP + 2;
  }
  const w = W + (columns - 1) * (INNER + GAP);
  slots.set(slot.group(group.key), { x: 0, y: 0, w, h: HEAD });
  return { w, h: Math.max(...tops) - GAP - 2 + PAD, slots, hidden };
}
