import type { Listen, Tuple } from "../../api/types";
import { port as portWord } from "../../format";

function listenWord(l: Listen): string {
  if (typeof l.protocol === "object") return portWord(l.protocol.number, 0);
  if (l.protocol === "icmp-echo") return "icmp/echo";
  return `${l.protocol}/${l.first}${l.last !== l.first ? `-${l.last}` : ""}`;
}

/** Of each kind so many are in words here. */
const MOST = 60;

/** First in words: who gains what, who loses what. */
export function DiffWords({
  gained,
  lost,
  note,
}: {
  gained: readonly Tuple[];
  lost: readonly Tuple[];
  note?: string | undefined;
}) {
  if (!gained.length && !lost.length) return <p>Nobody gains anything; nobody loses anything.</p>;
  const row = (t: Tuple, word: string) => (
    <li key={JSON.stringify([t.from, t.to, t.listen])}>
      <span class={word === "gains" ? "gain" : "lose"}>{word === "gains" ? "+" : "−"}</span>
      <span>
        <span class="mono">{t.from}</span> {word} {[...new Set(t.by.map((b) => b.service))].join(", ") || "something"}{" "}
        <span class="mono soft">{listenWord(t.listen)}</span> at <span class="mono">{t.to}</span>
      </span>
    </li>
  );
  return (
    <ul class="diff-words">
      {gained.slice(0, MOST).map((t) => row(t, "gains"))}
      {!gained.length ? (
        <li>
          <span />
          Nobody gains anything.
        </li>
      ) : null}
      {lost.slice(0, MOST).map((t) => row(t, "loses"))}
      {!lost.length ? (
        <li>
          <span />
          Nobody loses anything.
        </li>
      ) : null}
      {gained.length > MOST || lost.length > MOST ? (
        <li class="soft">
          <span />
          and {gained.slice(MOST).length + lost.slice(MOST).length} more; `warren policy diff` lists all of them
        </li>
      ) : null}
      {note ? (
        <li class="soft">
          <span />
          {note}
        </li>
      ) : null}
    </ul>
  );
}
