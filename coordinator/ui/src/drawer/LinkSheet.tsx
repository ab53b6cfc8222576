// Several edges between two places.
import { between, groups, isRefused, type Link } from "../map/graph";
import { linkIdOf } from "../map/select";
import { ends, sumField } from "../map/LinkCard";
import { place } from "../state/live";
import { useStore } from "../state/store";
import { Field, Name, Num, VerdictMark } from "../ui/parts";
import { Gone, Sheet, type SheetData } from "./Drawer";
import { EdgeList } from "./edges";

export function LinkSheet({ sel, live }: SheetData) {
  const by = useStore(place, (p) => p.group);
  const id = linkIdOf(sel);
  if (!live || !id) return null;
  const found = between(live.map, groups(live.map, by), id);
  if (!found)
    return (
      <Sheet kind="link" title="Nothing passed here">
        <Gone what="Nothing passed between these two in the chosen time." />
      </Sheet>
    );
  return <LinkBody link={found} />;
}

function LinkBody({ link }: { link: Link }) {
  const [from, to] = ends(link);
  const refused = isRefused(link.verdict) || link.verdict === "would-allow";
  const sum = (field: "bytes_out" | "bytes_back" | "flows" | "tries") => link.edges.reduce((a, e) => a + e[field], 0);
  const sorted = [...link.edges].sort(
    (a, b) => b.bytes_out + b.bytes_back + b.tries - a.bytes_out - a.bytes_back - a.tries,
  );
  return (
    <Sheet
      kind={`${link.edges.length} edges`}
      title={
        <>
          <Name text={from} /> <span class="to">→</span> <Name text={to} />
        </>
      }
    >
      <div class="sheet-verdict">
        <VerdictMark verdict={link.verdict} />
      </div>
      <dl class="fields">
        {refused ? (
          <Field name="Tries">
            <Num field={sumField(link.edges, "tries")} value={sum("tries")} />
          </Field>
        ) : (
          <>
            <Field name="Sent">
              <Num field={sumField(link.edges, "bytes_out")} value={sum("bytes_out")} as="bytes" />
            </Field>
            <Field name="Back">
              <Num field={sumField(link.edges, "bytes_back")} value={sum("bytes_back")} as="bytes" />
            </Field>
            <Field name="Flows">
              <Num field={sumField(link.edges, "flows")} value={sum("flows")} />
            </Field>
          </>
        )}
      </dl>
      <EdgeList edges={sorted} name="Edges" />
    </Sheet>
  );
}
