// What can be selected on the map, and its address.
import type { Edge, MapService } from "../api/types";
import { port } from "../format";
import { aim, type Link } from "./graph";

const pack = (id: string) => id.split("\n").map(encodeURIComponent).join("/");
const unpack = (text: string) => text.split("/").map(decodeURIComponent).join("\n");

/** One edge by itself, several by the two places they join. */
export function selOfLink(link: Link): string {
  return link.edges.length === 1
    ? `edge:${link.edges[0]!.id}`
    : `link:${pack(link.from)},${pack(link.to)},${link.verdict}`;
}

export function linkIdOf(sel: string): string | null {
  const parts = sel.startsWith("link:") ? sel.slice(5).split(",") : [];
  if (parts.length !== 3) return null;
  try {
    return `${unpack(parts[0]!)}\r${unpack(parts[1]!)}\r${parts[2]}`;
  } catch {
    return null;
  }
}

/** What a click on a place selects. */
export function selOfSlot(id: string): string {
  const [kind, a, b] = id.split("\n");
  switch (kind) {
    case "g":
      return `group:${a}`;
    case "s":
      return `service:${b}`;
    case "v":
      return `service:${b}`;
    case "n":
      return `node:${a}`;
    default:
      return `address:${a}`;
  }
}

/** The links that belong to what is selected; null: nothing on this map. */
export function chosen(
  sel: string | null,
  links: readonly Link[],
  services: readonly MapService[] = [],
): Set<string> | null {
  if (!sel) return null;
  const kind = sel.slice(0, sel.indexOf(":"));
  const value = sel.slice(kind.length + 1);
  const id = linkIdOf(sel);
  const fits = (link: Link): boolean => {
    switch (kind) {
      case "edge":
        return link.edges.some((e) => e.id === value);
      case "link":
        return link.id === id;
      case "group":
        return link.fromGroup === value || link.toGroup === value;
      case "node":
        return link.edges.some((e) => e.from.node === value || e.to.node === value);
      case "service":
        return link.edges.some((e) => aim(e, services) === value);
      case "grant":
        return link.edges.some((e) => e.grant === value);
      case "address":
        return link.edges.some((e) => e.from.address === value || e.to.address === value);
      case "tag":
        return link.fromGroup === `tag:${value}` || link.toGroup === `tag:${value}`;
      default:
        return false;
    }
  };
  if (!["edge", "link", "group", "node", "service", "grant", "address", "tag"].includes(kind)) return null;
  return new Set(links.filter(fits).map((l) => l.id));
}

/** The links at a place, or at anything inside a group. */
export function touching(id: string, links: readonly Link[]): Set<string> {
  const [kind, key] = id.split("\n");
  const fits = (l: Link) => (kind === "g" ? l.fromGroup === key || l.toGroup === key : l.from === id || l.to === id);
  const found = new Set(links.filter(fits).map((l) => l.id));
  // A service row shows who uses it; if nobody does, at least its group is lit.
  return found;
}

/** Free text against the ends, service, grant and port of a link. */
export function matching(q: string, links: readonly Link[], labels: (node: string) => string): Set<string> | null {
  if (!q.trim()) return null;
  return new Set(links.filter((l) => l.edges.some((e) => fitsText(q, edgeText(e, labels)))).map((l) => l.id));
}

/** What can be searched of an edge. */
export function edgeText(e: Edge, labels: (node: string) => string): string {
  return [
    e.from.name,
    e.from.address,
    e.to.name,
    e.to.address,
    e.service,
    e.grant,
    port(e.protocol, e.port),
    e.from.node && labels(e.from.node),
    e.to.node && labels(e.to.node),
  ].join(" ");
}

/** Every word is in it. */
export function fitsText(q: string, text: string): boolean {
  const lower = text.toLowerCase();
  return q
    .toLowerCase()
    .split(/\s+/)
    .every((word) => lower.includes(word));
}
