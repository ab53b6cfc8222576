import { useState } from "preact/hooks";
import type { AuditPage, FlowRow, TokenRow } from "../api/types";
import { ApiError, post } from "../api/client";
import type { Problem } from "../api/types";
import { flowCache, flowKey, isBehind } from "../pages/flows-data";
import { useResource } from "../state/resource";
import { nodes as nodeRows, session } from "../state/live";
import { useStore } from "../state/store";
import { Command, Copy, Fault, Field, Link as To, Loading, Name, Num, Port, Tag, VerdictMark, When } from "../ui/parts";
import { spanMs, utc } from "../format";
import { ends } from "../workload";
import { WorkloadFields } from "./Workloads";
import { GrantText } from "./GrantText";
import { Gone, Part, Sheet, type SheetData } from "./Drawer";

function Point({ end }: { end: FlowRow["from"] }) {
  const isHost = useStore(nodeRows, (rows) => isBehind(end, rows));
  return (
    <>
      {isHost ? <span class="soft">a host behind </span> : null}
      {end.node ? (
        <To to={{ sel: `node:${end.node}` }}>
          <Name text={end.name ?? end.node} />
        </To>
      ) : null}
      <div class="mono soft">
        {end.port ? `${end.address.includes(":") ? `[${end.address}]` : end.address}:${end.port}` : end.address}
      </div>
    </>
  );
}

export function FlowSheet({ value, text, live }: SheetData) {
  const row = useStore(flowCache, (rows) => rows.get(value) ?? null);
  if (!row)
    return (
      <Sheet kind="flow" title={<Name text={value} mono />}>
        <Gone what="This flow is not among the rows that are loaded. Its edge is on the map." />
      </Sheet>
    );
  const f = (name: string) => `flows[${flowKey(row)}].${name}`;
  const edge = live?.map.edges.find(
    (e) =>
      e.from.node === row.from.node &&
      e.to.node === row.to.node &&
      e.service === row.service &&
      e.port === row.to.port &&
      e.verdict === row.verdict &&
      e.grant === row.grant,
  );
  const { from, to } = ends(row);
  return (
    <Sheet
      kind="flow"
      title={
        <>
          <Name text={row.from.name ?? row.from.address} /> <span class="to">→</span>{" "}
          <Name text={row.service ?? row.to.name ?? row.to.address} />
        </>
      }
    >
      <div class="sheet-verdict">
        <VerdictMark verdict={row.verdict} />
        <Port protocol={row.protocol} at={row.to.port} />
        <span class="soft">{row.end}</span>
        {edge ? (
          <To to={{ page: "map", filters: {}, q: "", sel: `edge:${edge.id}` }} className="on-map">
            on the map
          </To>
        ) : null}
      </div>
      <dl class="fields">
        <Field name="From">
          <Point end={row.from} />
        </Field>
        <Field name="To">
          <Point end={row.to} />
        </Field>
        <Field name="Sent">
          <Num field={f("bytes_out")} value={row.bytes_out} as="bytes" />{" "}
          <span class="soft">
            in <Num field={f("packets_out")} value={row.packets_out} of="packets" />
          </span>
        </Field>
        <Field name="Back">
          <Num field={f("bytes_back")} value={row.bytes_back} as="bytes" />{" "}
          <span class="soft">
            in <Num field={f("packets_back")} value={row.packets_back} of="packets" />
          </span>
        </Field>
        {row.end === "refused" ? (
          <Field name="Tries">
            <Num field={f("count")} value={row.count} />
          </Field>
        ) : null}
        <Field name="Began">
          <span class="num">{utc(row.started_ms / 1000)}</span>
        </Field>
        <Field name="Lasted">
          <span class="num">{spanMs(row.last_ms - row.started_ms)}</span>
        </Field>
        {row.end === "refused" ? null : (
          <>
            <Field name="Round trip">
              <Num field={f("rtt_us")} value={row.rtt_us} as="micros" />
            </Field>
            <Field name="Retransmissions">
              <Num field={f("retransmissions")} value={row.retransmissions} />
            </Field>
            <Field name="Path">
              <Name text={row.path === "unknown" ? null : row.path} />
            </Field>
          </>
        )}
        <Field name="Reported by">
          <To to={{ sel: `node:${row.reporter}` }}>
            <Name text={row.outbound ? (row.from.name ?? row.reporter) : (row.to.name ?? row.reporter)} />
          </To>
          {row.other ? <span class="soft"> and its other end</span> : null}
        </Field>
        {row.mismatch ? (
          <Field name="Mismatch">
            <span class="v-would-deny">
              <bdi>{row.mismatch}</bdi>
            </span>
          </Field>
        ) : null}
      </dl>
      <Part name={`Opened by, on ${row.from.name ?? row.from.address}`}>
        <WorkloadFields workload={from} />
      </Part>
      <Part name={`Answered by, on ${row.to.name ?? row.to.address}`}>
        <WorkloadFields workload={to} />
      </Part>
      {row.grant ? (
        <Part name="Allowed by">
          <GrantText grant={row.grant} text={text} generation={row.generation} />
        </Part>
      ) : (
        <Part name="Why">
          <p class="soft">No grant permits it (generation {row.generation}).</p>
        </Part>
      )}
    </Sheet>
  );
}

export function AlarmSheet({ value, now }: SheetData) {
  const alarm = now?.alarms.find((a) => `${a.kind}/${a.subject}` === value);
  if (!alarm)
    return (
      <Sheet kind="alarm" title={<Name text={value} mono />}>
        <Gone what="This alarm is over." />
      </Sheet>
    );
  const f = (name: string) => `status.alarms[${alarm.kind}/${alarm.subject}].${name}`;
  return (
    <Sheet kind="alarm" title={<Name text={alarm.kind.replaceAll("-", " ")} />}>
      <p class="alarm-text">
        <bdi>{alarm.message}</bdi>
      </p>
      <dl class="fields">
        <Field name="About">
          <Name text={alarm.subject} />
        </Field>
        <Field name="Since">
          <When field={f("since")} at={alarm.since} />
        </Field>
        <Field name="Last">
          <When field={f("last")} at={alarm.last} />
        </Field>
        <Field name="Times">
          <Num field={f("count")} value={alarm.count} />
        </Field>
      </dl>
    </Sheet>
  );
}

export function TokenSheet({ value }: SheetData) {
  const { data, again } = useResource<TokenRow[]>("/tokens");
  const who = useStore(session);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [sure, setSure] = useState(false);
  const t = data?.find((row) => row.token === value);
  if (!data)
    return (
      <Sheet kind="token" title="…">
        <Loading />
      </Sheet>
    );
  if (!t)
    return (
      <Sheet kind="token" title={<Name text={value} mono />}>
        <Gone what="There is no such token." />
      </Sheet>
    );
  const f = (name: string) => `tokens[${t.token}].${name}`;
  const mayRevoke = who && who !== "asking" && who.scope !== "read" && t.state === "usable";
  const revoke = async () => {
    try {
      await post("/commands", { command: "revoke-token", token: t.token });
      setProblem(null);
      again();
    } catch (error) {
      if (error instanceof ApiError) setProblem(error.problem);
    }
  };
  return (
    <Sheet kind="token" title={<Name text={t.name ?? (t.name_prefix ? `${t.name_prefix}…` : "any free name")} />}>
      <div class="sheet-verdict">
        <span class={`token-state ts-${t.state}`}>{t.state}</span>
      </div>
      <dl class="fields">
        <Field name="Key">
          <Name text={t.token} mono />
          <Copy text={t.token} label="Copy the key" />
        </Field>
        <Field name="Tags">
          {t.tags.length ? t.tags.map((x) => <Tag key={x} name={x} />) : <span class="soft">none</span>}
        </Field>
        <Field name="Used">
          <Num field={f("used")} value={t.used} /> of <Num field={f("uses")} value={t.uses} />
        </Field>
        <Field name="Made">
          <When field={f("created")} at={t.created} />
        </Field>
        <Field name={t.state === "usable" ? "Ends" : "Ended"}>
          <When field={f("not_after")} at={t.not_after} />
        </Field>
      </dl>
      {t.redeemed_by.length ? (
        <Part name="Redeemed by">
          <ul class="lines">
            {t.redeemed_by.map((id) => (
              <li key={id}>
                <To to={{ sel: `node:${id}` }}>
                  <Name text={id} mono />
                </To>
              </li>
            ))}
          </ul>
        </Part>
      ) : null}
      {t.state === "usable" ? (
        <Part name="Revoke">
          {mayRevoke ? (
            sure ? (
              <div class="row">
                <button type="button" class="button danger" onClick={() => void revoke()}>
                  Revoke it now
                </button>
                <button type="button" class="button" onClick={() => setSure(false)}>
                  Keep it
                </button>
              </div>
            ) : (
              <button type="button" class="button" onClick={() => setSure(true)}>
                Revoke this token …
              </button>
            )
          ) : null}
          <Command text={`warren token revoke ${t.token}`} />
          {problem ? <Fault problem={problem} /> : null}
        </Part>
      ) : null}
    </Sheet>
  );
}

export function AuditSheet({ value }: SheetData) {
  const revision = Number(value);
  const isRevision = Number.isSafeInteger(revision) && revision > 0;
  const { data } = useResource<AuditPage>(isRevision ? "/audit" : null, { after: revision - 1, limit: 1 });
  const row = data?.rows.find((r) => r.revision === revision);
  return (
    <Sheet
      kind="audit"
      title={
        <>
          revision <span class="num">{value}</span>
        </>
      }
    >
      {row ? (
        <>
          <dl class="fields">
            <Field name="When">
              <When field={`audit[${row.revision}].at`} at={row.at} /> <div class="soft num">{utc(row.at)}</div>
            </Field>
            <Field name="Who">
              <Name text={row.principal} mono />
            </Field>
            <Field name="Hash">
              <Name text={row.hash} mono />
              <Copy text={row.hash} label="Copy the hash" />
            </Field>
          </dl>
          <Part name="What">
            {row.what.map((w, i) => (
              <p key={i} class="alarm-text">
                <bdi>{w}</bdi>
              </p>
            ))}
          </Part>
        </>
      ) : data || !isRevision ? (
        <Gone what="The log has no such revision." />
      ) : (
        <Loading />
      )}
    </Sheet>
  );
}
