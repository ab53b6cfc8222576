import { useEffect, useMemo, useState } from "preact/hooks";
import type { TokenRow } from "../api/types";
import { clock, go, place, session } from "../state/live";
import { useStore } from "../state/store";
import { useResource } from "../state/resource";
import { Command, Empty, Fault, Loading, Name, Num, Tag, When } from "../ui/parts";
import { Table, type Column } from "../ui/table";
import { selected } from "./selected";
import { Keys } from "./Keys";

export function TokensPage() {
  const sel = useStore(place, (p) => p.sel);
  const beat = useStore(clock, (c) => Math.floor(c / 30));
  const { data, problem, again } = useResource<TokenRow[]>("/tokens", {}, `${beat} ${sel}`);
  const [kept, keep] = useState<TokenRow[] | null>(null);
  useEffect(() => {
    if (data) keep(data);
  }, [data]);
  const who = useStore(session);
  const columns = useMemo((): Column<TokenRow>[] => {
    const f = (t: TokenRow, name: string) => `tokens[${t.token}].${name}`;
    return [
      {
        id: "state",
        head: "State",
        track: "92px",
        cell: (t) => <span class={`token-state ts-${t.state}`}>{t.state}</span>,
      },
      {
        id: "for",
        head: "For",
        track: "minmax(110px,1.2fr)",
        cell: (t) =>
          t.name ? (
            <Name text={t.name} />
          ) : t.name_prefix ? (
            <span>
              <Name text={t.name_prefix} />…
            </span>
          ) : (
            <span class="soft">any free name</span>
          ),
      },
      {
        id: "tags",
        head: "Tags",
        track: "minmax(80px,1fr)",
        cell: (t) => (t.tags.length ? t.tags.map((x) => <Tag key={x} name={x} />) : <span class="soft">none</span>),
        spare: 1,
      },
      {
        id: "used",
        head: "Used",
        track: "84px",
        right: true,
        cell: (t) => (
          <span>
            <Num field={f(t, "used")} value={t.used} /> of <Num field={f(t, "uses")} value={t.uses} />
          </span>
        ),
      },
      {
        id: "made",
        head: "Made",
        track: "104px",
        right: true,
        cell: (t) => <When field={f(t, "created")} at={t.created} />,
        spare: 1,
      },
      {
        id: "ends",
        head: "Ends",
        track: "104px",
        right: true,
        cell: (t) => <When field={f(t, "not_after")} at={t.not_after} />,
        spare: 1,
      },
      {
        id: "key",
        head: "Key",
        track: "minmax(110px,1fr)",
        cell: (t) => <span class="mono soft">{t.token.slice(0, 12)}…</span>,
        spare: 2,
      },
    ];
  }, []);
  const rows = useMemo(
    () =>
      [...(kept ?? [])].sort(
        (a, b) => Number(b.state === "usable") - Number(a.state === "usable") || b.created - a.created,
      ),
    [kept],
  );
  return (
    <div class="page flush two-tables">
      <div class="bar">
        <h1>Enrolment tokens</h1>
        <span class="soft">each admits a host, with the tags it names</span>
      </div>
      {problem ? <Fault problem={problem} again={again} /> : null}
      {kept ? (
        <Table
          label="Enrolment tokens"
          rows={rows}
          columns={columns}
          keyOf={(t) => t.token}
          selected={selected(sel, "token")}
          onOpen={(t) => go({ sel: `token:${t.token}` })}
          empty={
            <Empty title="No token was made yet">
              <Command text="warren token create --name web-1 --tag web" />
            </Empty>
          }
        />
      ) : problem ? null : (
        <Loading />
      )}
      {who && who !== "asking" && who.scope === "admin" ? (
        <Keys />
      ) : (
        <p class="soft padded">API keys are shown to a session of scope admin.</p>
      )}
    </div>
  );
}
