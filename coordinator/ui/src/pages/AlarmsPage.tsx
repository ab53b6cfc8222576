import { useMemo } from "preact/hooks";
import type { Alarm } from "../api/types";
import { go, loadStatus, place, status, trouble } from "../state/live";
import { useStore } from "../state/store";
import { Empty, Name, Num, Pending, When } from "../ui/parts";
import { Icon } from "../ui/icons";
import { Table, type Column } from "../ui/table";
import { plural } from "../format";
import { selected } from "./selected";

export function AlarmsPage() {
  const now = useStore(status);
  const sel = useStore(place, (p) => p.sel);
  const columns = useMemo((): Column<Alarm>[] => {
    const f = (a: Alarm, name: string) => `status.alarms[${a.kind}/${a.subject}].${name}`;
    return [
      {
        id: "kind",
        head: "Alarm",
        track: "minmax(146px,0.7fr)",
        cell: (a) => (
          <span class="alarm-kind">
            <Icon name="alarms" /> {a.kind.replaceAll("-", " ")}
          </span>
        ),
      },
      { id: "subject", head: "About", track: "minmax(100px,0.7fr)", cell: (a) => <Name text={a.subject} /> },
      {
        id: "message",
        head: "What happened",
        track: "minmax(120px,2.4fr)",
        cell: (a) => <Name text={a.message} />,
        spare: 1,
      },
      {
        id: "count",
        head: "Times",
        track: "64px",
        right: true,
        cell: (a) => <Num field={f(a, "count")} value={a.count} />,
        spare: 1,
      },
      {
        id: "since",
        head: "Since",
        track: "104px",
        right: true,
        cell: (a) => <When field={f(a, "since")} at={a.since} />,
        spare: 2,
      },
      { id: "last", head: "Last", track: "104px", right: true, cell: (a) => <When field={f(a, "last")} at={a.last} /> },
    ];
  }, []);
  const fault = useStore(trouble.status);
  if (!now) return <Pending name="Alarms" problem={fault} again={() => void loadStatus()} />;
  const rows = [...now.alarms].sort((a, b) => b.last - a.last);
  return (
    <div class="page flush">
      <div class="bar">
        <h1>Alarms</h1>
        <span class="soft">
          <Num field="status.alarms.length" value={rows.length} of={plural(rows.length, "alarm")} />
        </span>
      </div>
      <Table
        label="Alarms"
        rows={rows}
        columns={columns}
        keyOf={(a) => `${a.kind}/${a.subject}`}
        selected={selected(sel, "alarm")}
        onOpen={(a) => go({ sel: `alarm:${a.kind}/${a.subject}` })}
        empty={
          <Empty title="No alarm">
            <p class="soft">All nodes that are online enforce the present policy, and nothing asks for you.</p>
          </Empty>
        }
      />
    </div>
  );
}
