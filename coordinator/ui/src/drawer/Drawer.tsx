// What is selected, at a permanent address. Each kind of thing has its own sheet.
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { go, mapState, nodes, place, policy, status } from "../state/live";
import { useStore } from "../state/store";
import { Copy } from "../ui/parts";
import { Icon } from "../ui/icons";
import { EdgeSheet } from "./EdgeSheet";
import { LinkSheet } from "./LinkSheet";
import { NodeSheet } from "./NodeSheet";
import { AddressSheet, GrantSheet, GroupSheet, ServiceSheet } from "./ThingSheets";
import { AlarmSheet, AuditSheet, FlowSheet, TokenSheet } from "./RowSheets";

export function Drawer() {
  const sel = useStore(place, (p) => p.sel);
  const live = useStore(mapState).live;
  const rows = useStore(nodes);
  const text = useStore(policy);
  const now = useStore(status);
  const element = useRef<HTMLElement>(null);
  useEffect(() => {
    element.current?.scrollTo(0, 0);
  }, [sel]);
  if (!sel) return null;
  const kind = sel.slice(0, sel.indexOf(":"));
  const value = sel.slice(kind.length + 1);
  const data = { value, sel, live, rows, text, now };
  const sheets: Record<string, (d: SheetData) => ComponentChildren> = {
    edge: (d) => <EdgeSheet {...d} key={sel} />,
    link: (d) => <LinkSheet {...d} key={sel} />,
    node: (d) => <NodeSheet {...d} key={sel} />,
    service: (d) => <ServiceSheet {...d} key={sel} />,
    group: (d) => <GroupSheet {...d} key={sel} />,
    tag: (d) => <GroupSheet {...d} value={`tag:${value}`} key={sel} />,
    grant: (d) => <GrantSheet {...d} key={sel} />,
    address: (d) => <AddressSheet {...d} key={sel} />,
    flow: (d) => <FlowSheet {...d} key={sel} />,
    alarm: (d) => <AlarmSheet {...d} key={sel} />,
    token: (d) => <TokenSheet {...d} key={sel} />,
    audit: (d) => <AuditSheet {...d} key={sel} />,
  };
  const sheet = sheets[kind];
  if (!sheet) return null;
  return (
    <aside class="drawer" ref={element} aria-label="Details">
      <div class="drawer-tools">
        <Copy text={location.href} label="Copy the address of this view" />
        <button
          type="button"
          class="quiet"
          aria-label="Close (Esc)"
          title="Close (Esc)"
          onClick={() => go({ sel: null })}
        >
          <Icon name="close" />
        </button>
      </div>
      {sheet(data)}
    </aside>
  );
}

export interface SheetData {
  value: string;
  sel: string;
  live: import("../map/merge").LiveMap | null;
  rows: import("../api/types").NodeRow[] | null;
  text: import("../api/types").PolicyText | null;
  now: import("../api/types").Status | null;
}

export function Sheet({
  kind,
  title,
  children,
}: {
  kind: string;
  title: ComponentChildren;
  children: ComponentChildren;
}) {
  return (
    <>
      <header class="sheet-head">
        <span class="sheet-kind">{kind}</span>
        <h2>{title}</h2>
      </header>
      {children}
    </>
  );
}

export function Part({
  name,
  children,
  count,
}: {
  name: string;
  children: ComponentChildren;
  count?: ComponentChildren;
}) {
  return (
    <section class="part">
      <h3>
        {name}
        {count !== undefined ? <span class="part-count">{count}</span> : null}
      </h3>
      {children}
    </section>
  );
}

export function Gone({ what }: { what: string }) {
  return <p class="soft">{what}</p>;
}
