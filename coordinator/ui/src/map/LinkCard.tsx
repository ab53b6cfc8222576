// The numbers of a link, beside the pointer.
import type { Edge, Sums } from "../api/types";
import type { Link } from "./graph";
import { Name, Num, VerdictMark, When } from "../ui/parts";
import { plural, port } from "../format";

const shownOf = (id: string): string | null => {
  const [kind, a, b] = id.split("\n");
  return kind === "g"
    ? a!.replace(/^node:[0-9a-f]{32}$/, "").replace(/^(tag|site):/, "")
    : kind === "a"
      ? a!
      : (b ?? null);
};

/** Names of what a sum adds up. */
export const sumField = (edges: readonly Edge[], field: keyof Sums) =>
  `map.edges[${edges.map((e) => e.id).join(",")}].${field}`;

export function ends(link: Link): [string, string] {
  const first = link.edges[0]!;
  const from =
    link.from.startsWith("n\n") || link.edges.every((e) => e.from.node === first.from.node)
      ? (first.from.name ?? first.from.address)
      : shownOf(link.from);
  const to = link.edges.every((e) => e.service && e.service === first.service)
    ? first.service
    : (shownOf(link.to) ?? first.to.name ?? first.to.address);
  return [from ?? "not known", to || first.to.name || first.to.address || "not known"];
}

export function LinkCard({ link, x, y, room }: { link: Link; x: number; y: number; room: { w: number; h: number } }) {
  const [from, to] = ends(link);
  const grants = [...new Set(link.edges.flatMap((e) => e.grant ?? []))];
  const ports = [...new Set(link.edges.map((e) => port(e.protocol, e.port)))];
  const sum = (field: keyof Sums) => link.edges.reduce((a, e) => a + e[field], 0);
  const left = x + 300 > room.w ? x - 276 : x + 16;
  const top = Math.min(y + 14, room.h - 176);
  const refused = link.verdict === "deny" || link.verdict === "would-allow";
  return (
    <div class="card" role="tooltip" style={{ transform: `translate(${Math.max(8, left)}px, ${Math.max(8, top)}px)` }}>
      <div class="card-head">
        <Name text={from} /> <span class="to">→</span> <Name text={to} />
      </div>
      <div class="card-line">
        <VerdictMark verdict={link.verdict} />{" "}
        <span class="mono soft">
          {ports.slice(0, 3).join(", ")}
          {ports.length > 3 ? " …" : ""}
        </span>
      </div>
      <dl>
        {refused ? (
          <div>
            <dt>tries</dt>
            <dd>
              <Num field={sumField(link.edges, "tries")} value={sum("tries")} />
            </dd>
          </div>
        ) : (
          <>
            <div>
              <dt>sent</dt>
              <dd>
                <Num field={sumField(link.edges, "bytes_out")} value={sum("bytes_out")} as="bytes" />
              </dd>
            </div>
            <div>
              <dt>back</dt>
              <dd>
                <Num field={sumField(link.edges, "bytes_back")} value={sum("bytes_back")} as="bytes" />
              </dd>
            </div>
            <div>
              <dt>flows</dt>
              <dd>
                <Num field={sumField(link.edges, "flows")} value={sum("flows")} />
              </dd>
            </div>
          </>
        )}
        <div>
          <dt>last seen</dt>
          <dd>
            <When
              field={`map.edges[${link.edges.map((e) => e.id).join(",")}].last_seen`}
              at={Math.max(...link.edges.map((e) => e.last_seen)) / 1000}
            />
          </dd>
        </div>
      </dl>
      <div class="card-foot">
        {grants.length ? (
          <span class="mono">
            {grants.slice(0, 2).join(", ")}
            {grants.length > 2 ? ` and ${grants.length - 2} more` : ""}
          </span>
        ) : (
          <span>no grant</span>
        )}
        {link.edges.length > 1 ? (
          <span class="soft">
            {link.edges.length} {plural(link.edges.length, "edge")}
          </span>
        ) : null}
      </div>
    </div>
  );
}
