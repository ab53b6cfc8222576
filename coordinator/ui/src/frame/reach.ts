/** How far back the slider reaches for a window, seconds: not into a time of which nothing is kept. */
export function reach(window: number, second: number, since: number | null): number {
  const far = window <= 300 ? 6 * 3600 : window <= 3600 ? 86400 : window <= 21600 ? 7 * 86400 : 30 * 86400;
  return since === null ? far : Math.min(far, Math.max(second - since, 3600));
}
