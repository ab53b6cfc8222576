import { useEffect, useMemo, useState } from "preact/hooks";
import { ApiError, get } from "../api/client";
import type { AuditPage as Page, AuditRow, AuditVerified, Problem } from "../api/types";
import { go, newAudit, place } from "../state/live";
import { useStore } from "../state/store";
import { Empty, Fault, Loading, Name, Num, When } from "../ui/parts";
import { Icon } from "../ui/icons";
import { Table, type Column } from "../ui/table";
import { selected } from "./selected";

export function AuditPage() {
  const sel = useStore(place, (p) => p.sel);
  const q = useStore(place, (p) => p.q).toLowerCase();
  const fresh = useStore(newAudit);
  const [rows, setRows] = useState<AuditRow[] | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [verified, setVerified] = useState<AuditVerified | "busy" | null>(null);
  const load = async (before: number | null) => {
    try {
      const limit = 200;
      const page = await get<Page>(
        "/audit",
        before === null ? { limit } : { after: Math.max(0, before - 1 - limit), limit: Math.min(limit, before - 1) },
      );
      setRows((known) => merge(before === null ? [] : (known ?? []), page.rows));
      setProblem(null);
    } catch (error) {
      if (error instanceof ApiError) setProblem(error.problem);
    }
  };
  useEffect(() => void load(null), []);
  useEffect(() => {
    if (fresh.length) setRows((known) => known && merge(known, fresh));
  }, [fresh]);
  const verify = async () => {
    setVerified("busy");
    try {
      setVerified(await get<AuditVerified>("/audit/verify"));
      setProblem(null);
    } catch (error) {
      setVerified(null);
      if (error instanceof ApiError) setProblem(error.problem);
    }
  };
  const shown = useMemo(
    () => (rows ?? []).filter((r) => !q || [r.principal, ...r.what, ...r.kinds].join(" ").toLowerCase().includes(q)),
    [rows, q],
  );
  const columns = useMemo((): Column<AuditRow>[] => {
    const f = (r: AuditRow, name: string) => `audit[${r.revision}].${name}`;
    return [
      {
        id: "revision",
        head: "Revision",
        track: "76px",
        right: true,
        cell: (r) => <Num field={f(r, "revision")} value={r.revision} />,
      },
      { id: "at", head: "When", track: "128px", cell: (r) => <When field={f(r, "at")} at={r.at} /> },
      {
        id: "who",
        head: "Who",
        track: "minmax(110px,0.8fr)",
        cell: (r) => <Name text={short(r.principal)} mono />,
        spare: 1,
      },
      {
        id: "kind",
        head: "Kind",
        track: "130px",
        cell: (r) => <span>{[...new Set(r.kinds)].join(", ").replaceAll("-", " ")}</span>,
        spare: 2,
      },
      { id: "what", head: "What", track: "minmax(140px,2.6fr)", cell: (r) => <Name text={r.what.join("; ")} /> },
      {
        id: "hash",
        head: "Hash",
        track: "92px",
        cell: (r) => <span class="mono soft">{r.hash.slice(0, 8)}</span>,
        spare: 2,
      },
    ];
  }, []);
  const first = rows?.at(-1)?.revision ?? 0;
  return (
    <div class="page flush">
      <div class="bar">
        <h1>Audit</h1>
        <span class="soft">each act carries the hash of the one before</span>
        <span class="grow" />
        {verified && verified !== "busy" ? (
          <span class="verified">
            <Icon name="check" /> the chain holds up to revision{" "}
            <Num field="audit/verify.revision" value={verified.revision} />
          </span>
        ) : null}
        <button type="button" class="button" disabled={verified === "busy"} onClick={() => void verify()}>
          {verified === "busy" ? "Reading …" : "Verify the chain"}
        </button>
      </div>
      {problem ? <Fault problem={problem} again={() => void load(null)} /> : null}
      {rows ? (
        <Table
          label="Audit log, newest first"
          rows={shown}
          columns={columns}
          keyOf={(r) => String(r.revision)}
          selected={selected(sel, "audit")}
          onOpen={(r) => go({ sel: `audit:${r.revision}` })}
          empty={
            <Empty title="Nothing fits">
              <p>Among the rows that are loaded. Older ones are below, or with `warren audit list`.</p>
              <button type="button" class="button" onClick={() => go({ q: "" })}>
                Show all
              </button>
            </Empty>
          }
        />
      ) : problem ? null : (
        <Loading />
      )}
      {first > 1 ? (
        <div class="more">
          <button type="button" class="button" onClick={() => void load(first)}>
            Older than revision {first}
          </button>
        </div>
      ) : null}
    </div>
  );
}

function merge(known: AuditRow[], more: AuditRow[]): AuditRow[] {
  const byRevision = new Map([...known, ...more].map((r) => [r.revision, r]));
  return [...byRevision.values()].sort((a, b) => b.revision - a.revision);
}

/** A node id is long; its beginning tells it. */
const short = (principal: string) => principal.replace(/^(node:[0-9a-f]{8})[0-9a-f]{24}$/, "$1…");
