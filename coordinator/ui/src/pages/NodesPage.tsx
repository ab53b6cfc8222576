import { useMemo, useState } from "preact/hooks";
import type { NodeRow } from "../api/types";
import { go, loadNodes, mapState, nodes, place, status, trouble } from "../state/live";
import { useStore } from "../state/store";
import { Chip, Command, Empty, Name, Num, Pending, Tag, When } from "../ui/parts";
import { NodeState } from "../map/GroupBox";
import { Icon } from "../ui/icons";
import { Table, type Column } from "../ui/table";
import { selected } from "./selected";

export function NodesPage() {
  const rows = useStore(nodes);
  const sel = useStore(place, (p) => p.sel);
  const q = useStore(place, (p) => p.q).toLowerCase();
  const now = useStore(status);
  const map = useStore(mapState, (s) => s.live?.map.nodes ?? null);
  const [gone, setGone] = useState(false);
  const behind = useMemo(() => new Map(now?.enforcement.behind.map((b) => [b.node, b]) ?? []), [now]);
  const sites = useMemo(() => new Map(map?.map((n) => [n.id, n.site]) ?? []), [map]);
  const shown = useMemo(() => {
    const fits = (n: NodeRow) =>
      !q || [n.name, n.id, n.v4, n.v6, ...n.tags, ...n.offers].join(" ").toLowerCase().includes(q);
    const rank = (n: NodeRow) =>
      n.revoked !== null ? 3 : behind.has(n.id) && n.online ? 0 : !n.online && !n.external ? 1 : 2;
    return (rows ?? [])
      .filter((n) => (gone || n.revoked === null) && fits(n))
      .sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name, "en", { numeric: true }));
  }, [rows, q, gone, behind]);
  const columns = useMemo((): Column<NodeRow>[] => {
    const f = (n: NodeRow, name: string) => `nodes[${n.id}].${name}`;
    return [
      {
        id: "state",
        head: "State",
        track: "92px",
        cell: (n) =>
          n.external && n.revoked === null ? (
            <span class="soft" title="A device without an agent: what it does is not seen">
              external
            </span>
          ) : (
            <NodeState
              word
              node={{ online: n.online, revoked: n.revoked, behind_since: behind.get(n.id)?.since ?? null }}
            />
          ),
      },
      { id: "name", head: "Name", track: "minmax(110px,1.3fr)", cell: (n) => <Name text={n.name} /> },
      {
        id: "tags",
        head: "Tags",
        track: "minmax(80px,1fr)",
        cell: (n) => (n.tags.length ? n.tags.map((t) => <Tag key={t} name={t} />) : <span class="soft">none</span>),
        spare: 1,
      },
      { id: "site", head: "Site", track: "92px", cell: (n) => <Name text={sites.get(n.id) ?? null} />, spare: 2 },
      {
        id: "address",
        head: "Address",
        track: "112px",
        cell: (n) => <span class="mono">{n.v4 ?? n.v6}</span>,
        spare: 1,
      },
      {
        id: "offers",
        head: "Offers",
        track: "minmax(90px,1fr)",
        cell: (n) => (n.offers.length ? <Name text={n.offers.join(", ")} /> : <span class="soft">nothing</span>),
        spare: 2,
      },
      {
        id: "gen",
        head: "Enforces",
        track: "96px",
        right: true,
        cell: (n) =>
          n.enforced ? (
            <span>
              gen <Num field={f(n, "enforced.generation")} value={n.enforced.generation} />
            </span>
          ) : (
            <span class="unknown">not known</span>
          ),
      },
      {
        id: "peers",
        head: "Peers",
        track: "60px",
        right: true,
        cell: (n) => <Num field={f(n, "peers")} value={n.peers} />,
        spare: 2,
      },
      {
        id: "since",
        head: "Since",
        track: "104px",
        right: true,
        cell: (n) =>
          n.revoked !== null ? (
            <When field={f(n, "revoked")} at={n.revoked} />
          ) : (
            <When field={f(n, "since")} at={n.since} />
          ),
        spare: 1,
      },
    ];
  }, [behind, sites]);
  const fault = useStore(trouble.nodes);
  if (!rows) return <Pending name="Nodes" problem={fault} again={() => void loadNodes()} />;
  return (
    <div class="page flush">
      <div class="bar">
        <h1>Nodes</h1>
        {now ? (
          <span class="soft">
            <Num field="status.online" value={now.online} /> of <Num field="status.nodes" value={now.nodes} /> online
          </span>
        ) : null}
        {q ? (
          <Chip on onClick={() => go({ q: "" })}>
            “{q}” <Icon name="close" size={12} />
          </Chip>
        ) : null}
        <span class="grow" />
        {rows.some((n) => n.revoked !== null) ? (
          <Chip on={gone} onClick={() => setGone(!gone)}>
            with revoked ones
          </Chip>
        ) : null}
      </div>
      <Table
        label="Nodes"
        rows={shown}
        columns={columns}
        keyOf={(n) => n.id}
        selected={selected(sel, "node")}
        onOpen={(n) => go({ sel: `node:${n.id}` })}
        empty={
          <Empty title={q ? "No node fits" : "No node is enrolled"}>
            {q ? null : <Command text="warren token create --name web-1 --tag web" />}
          </Empty>
        }
      />
    </div>
  );
}
