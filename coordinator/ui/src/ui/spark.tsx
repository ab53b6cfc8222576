import { clock, moment } from "../format";

interface Point {
  at: number;
  value: number;
}

/** One quantity over time, as columns; where nothing is recorded, nothing is drawn. */
export function Spark({
  points,
  from,
  to,
  step,
  label,
  format,
  refused,
  since = null,
}: {
  points: readonly Point[];
  from: number;
  to: number;
  step: number;
  label: string;
  format: (n: number) => string;
  refused?: boolean;
  /** What came before is not kept any more. */
  since?: number | null;
}) {
  const [w, h] = [320, 44];
  const most = Math.max(1, ...points.map((p) => p.value));
  const columns = Math.max(1, Math.min(160, Math.ceil((to - from) / step)));
  const sums = new Array<number>(columns).fill(0);
  for (const p of points) {
    const i = Math.floor(((p.at - from) / (to - from)) * columns);
    if (i >= 0 && i < columns) sums[i] = Math.max(sums[i]!, p.value);
  }
  const cw = w / columns;
  const d = sums
    .map((v, i) =>
      v > 0
        ? `M${(i * cw).toFixed(2)} ${h}v${(-Math.max(1.5, (v / most) * (h - 4))).toFixed(2)}h${Math.max(0.6, cw - (cw > 3 ? 1 : 0)).toFixed(2)}V${h}z`
        : "",
    )
    .join("");
  return (
    <figure class={`spark ${refused ? "spark-deny" : ""}`}>
      <svg
        viewBox={`0 0 ${w} ${h}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${label}, at most ${format(most)}`}
      >
        <path d={d} />
      </svg>
      <figcaption>
        <span>{since === null ? moment(from, to) : `kept since ${moment(since, to)}`}</span>
        <span>
          {label}, at most {format(most)}
        </span>
        <span>{clock(to)}</span>
      </figcaption>
    </figure>
  );
}
