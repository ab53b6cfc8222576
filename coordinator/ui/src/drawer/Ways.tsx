// Which way a node's packets take to its peers, as it tells of itself: every place, its last answer, and why the one in use is used.
import type { NodeRow, PathPlaceRow, PathRow, PathsView } from "../api/types";
import { useResource } from "../state/resource";
import { clock } from "../state/live";
import { useStore } from "../state/store";
import { Fault, Link as To, Loading, Name, Num, When } from "../ui/parts";
import { Part } from "./Drawer";

const LIMIT = 200;
const SHOWN = 20;

/** Why a place was left for another. */
const REASONS: Record<string, string> = {
  told: "it was told",
  roamed: "the peer spoke from there",
  unanswered: "the one before gave no answer",
  withdrawn: "it is named no longer",
  silent: "the direct path fell silent",
  answered: "a question was answered there",
  "no-relay": "the relay does not answer",
  faster: "it answers sooner",
  nearer: "that relay is nearer to both",
};

export function Ways({ n }: { n: NodeRow }) {
  const beat = useStore(clock, (c) => Math.floor(c / 10));
  const { data, problem, again } = useResource<PathsView>("/paths", { from: n.id, limit: LIMIT }, beat);
  if (n.external) return null;
  if (problem)
    return (
      <Part name="Ways">
        <Fault problem={problem} again={again} />
      </Part>
    );
  if (!data)
    return (
      <Part name="Ways">
        <Loading />
      </Part>
    );
  const more = Math.max(data.paths.length - SHOWN, 0) + data.left_off;
  return (
    <Part name="Ways" count={<span class="soft">as it tells of its own packets, now</span>}>
      {data.paths.slice(0, SHOWN).map((row) => (
        <Way key={row.to} row={row} />
      ))}
      {data.paths.length ? null : (
        <p class="soft">It has told of no way within an hour: it tells of those it talks to.</p>
      )}
      {more ? <p class="soft small">and {more} more</p> : null}
    </Part>
  );
}

function Way({ row }: { row: PathRow }) {
  const f = (name: string) => `paths?from=${row.from}&limit=${LIMIT}[${row.to}].${name}`;
  return (
    <details class="way">
      <summary>
        <span class="way-to">
          <Name text={row.to_name ?? row.to} />
        </span>
        <span class={row.relayed ? "v-would-deny" : "soft"}>
          {row.relayed === null ? "no place" : row.relayed ? "relayed" : "direct"}
        </span>
        {row.round_trip_us === null ? null : (
          <Num field={f("round_trip_us")} value={row.round_trip_us} as="micros" className="soft" />
        )}
      </summary>
      <p class="small">
        <Name text={row.text} />
      </p>
      <ul class="lines paths">
        {row.places.map((place, i) => (
          <Place key={place.place} place={place} field={(name) => f(`places.${i}.${name}`)} />
        ))}
      </ul>
      {row.moves.length ? (
        <ul class="moves small soft">
          {row.moves.map((move, i) => (
            <li key={`${move.at} ${i}`}>
              <When field={f(`moves.${i}.at`)} at={move.at} /> to{" "}
              {move.to === null ? "no place" : <Name text={move.to} mono />}: {REASONS[move.reason] ?? move.reason}
            </li>
          ))}
        </ul>
      ) : null}
      <p class="soft small">
        told <When field={f("told")} at={row.told} />, <To to={{ sel: `node:${row.to}` }}>the other end</To>
      </p>
    </details>
  );
}

function Place({ place, field }: { place: PathPlaceRow; field: (name: string) => string }) {
  return (
    <li>
      <span class={place.in_use ? "" : "soft"}>
        <Name text={place.place} mono={!place.relayed} />
        {place.in_use ? " · used" : ""}
      </span>
      {place.round_trip_us === null ? null : (
        <Num field={field("round_trip_us")} value={place.round_trip_us} as="micros" className="soft" />
      )}
      <When field={field("answered")} at={place.answered} none="no answer" />
    </li>
  );
}
