// Where things stood when this browser last looked: per network and grouping.
import type { Grouping, Level } from "../state/url";
import type { Rect } from "./geometry";
import type { Spots } from "./plan";

export interface Remembered {
  level: Level;
  spots: Spots;
}

const VERSION = 1;
const keyOf = (network: string, by: Grouping) => `warren.map.${VERSION}.${network}.${by}`;
const isNumber = (v: unknown): v is number => typeof v === "number" && Number.isFinite(v);
const isRect = (v: unknown): v is Rect =>
  !!v && typeof v === "object" && ["x", "y", "w", "h"].every((k) => isNumber((v as Record<string, unknown>)[k]));

export function recall(network: string, by: Grouping): Remembered | null {
  try {
    const value = JSON.parse(localStorage.getItem(keyOf(network, by)) ?? "null") as Partial<Remembered> | null;
    if (!value || ![0, 1, 2].includes(value.level as number) || !value.spots) return null;
    const spots = Object.fromEntries(Object.entries(value.spots).filter(([, r]) => isRect(r)));
    return { level: value.level as Level, spots };
  } catch {
    return null;
  }
}

export function remember(network: string, by: Grouping, value: Remembered): void {
  try {
    localStorage.setItem(keyOf(network, by), JSON.stringify(value));
  } catch {
    // A full or forbidden storage costs only the memory of places.
  }
}

export function forget(network: string, by: Grouping): void {
  try {
    localStorage.removeItem(keyOf(network, by));
  } catch {
    // As above.
  }
}
