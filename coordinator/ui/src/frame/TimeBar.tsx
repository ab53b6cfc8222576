// Which time is shown: live, or a moment in the past, and how much before it counts.
import { useEffect, useRef, useState } from "preact/hooks";
import { clock, connection, go, mapState, now, place } from "../state/live";
import { useStore } from "../state/store";
import { WINDOWS } from "../state/url";
import { Icon } from "../ui/icons";
import { reach } from "./reach";
import { moment, span, utc } from "../format";

const HAVE_TIME = new Set(["map", "flows"]);

const STEPS = 720;

export function TimeBar() {
  const page = useStore(place, (p) => p.page);
  const at = useStore(place, (p) => p.at);
  const window = useStore(place, (p) => p.window);
  const second = useStore(clock);
  const since = useStore(mapState, (s) => s.live?.map.recorded_since ?? null);
  const isLost = useStore(connection, (l) => l.state === "lost");
  const [dragged, drag] = useState<number | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  if (!HAVE_TIME.has(page)) return <div class="time" />;
  const far = reach(window, second, since);
  const shown = dragged ?? at;
  const value =
    shown === null ? STEPS : Math.max(0, Math.min(STEPS, Math.round(STEPS - ((second - shown) / far) * STEPS)));
  const slide = (step: number) => {
    const to = step >= STEPS ? null : Math.round(now() - ((STEPS - step) / STEPS) * far);
    drag(to);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      drag(null);
      go({ at: to }, "replace");
    }, 160);
  };
  const isLive = shown === null;
  const words: Record<number, string> = {
    60: "1 min",
    300: "5 min",
    900: "15 min",
    3600: "1 h",
    21600: "6 h",
    86400: "1 d",
  };
  const known = (WINDOWS as readonly number[]).includes(window);
  return (
    <div class="time" role="group" aria-label="Time">
      <button
        type="button"
        class={`live ${!isLive ? "" : isLost ? "lost" : "on"}`}
        aria-pressed={isLive}
        title={isLive ? "Hold the picture as it is" : "Follow what happens now"}
        onClick={() => go({ at: isLive ? Math.floor(now()) : null })}
      >
        <Icon name={isLive ? "pause" : "play"} size={14} />
        <span>{!isLive ? "Paused" : isLost ? "Not live" : "Live"}</span>
      </button>
      <label class="window">
        <span class="sr">Window</span>
        <select value={String(window)} onChange={(e) => go({ window: Number(e.currentTarget.value) })}>
          {WINDOWS.map((w) => (
            <option key={w} value={String(w)}>
              {words[w]}
            </option>
          ))}
          {known ? null : <option value={String(window)}>{span(window)}</option>}
        </select>
      </label>
      <input
        type="range"
        class="slider"
        min={0}
        max={STEPS}
        step={1}
        value={value}
        aria-label="Moment"
        aria-valuetext={isLive ? "now" : utc(shown)}
        title={`${span(far)} back to now`}
        onInput={(e) => slide(Number(e.currentTarget.value))}
        ref={(el) => el?.style.setProperty("--at", `${(value / STEPS) * 100}%`)}
      />
      <output class="num moment" title={isLive ? `${span(far)} back to now` : utc(shown)}>
        {isLive
          ? `${utc(second).slice(11, 19)} UTC`
          : `${moment(shown, second)}${Math.floor(shown / 86400) === Math.floor(second / 86400) ? " UTC" : ""}`}
      </output>
    </div>
  );
}
