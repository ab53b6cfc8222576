import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { PolicyText, PolicyUsage, SourceText } from "../../api/types";
import { blocks, type Block } from "../../policy-text";
import { go, place } from "../../state/live";
import { useStore } from "../../state/store";
import { useResource } from "../../state/resource";
import { Num, When } from "../../ui/parts";
import { Icon } from "../../ui/icons";
import { tokens } from "../../ui/toml";
import { plural } from "../../format";

export function Current({ text, serial }: { text: PolicyText; serial: number }) {
  const [beat, setBeat] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setBeat((n) => n + 1), 10_000);
    return () => clearInterval(timer);
  }, []);
  const minute = useResource<PolicyUsage>("/policy/usage", { within: 60 }, `${serial} ${beat}`).data;
  const month = useResource<PolicyUsage>(
    "/policy/usage",
    { within: 2592000 },
    `${serial} ${Math.floor(beat / 6)}`,
  ).data;
  const last = useRef<[PolicyUsage | null, PolicyUsage | null]>([null, null]);
  // What was said stays until something newer is said.
  last.current = [minute ?? last.current[0], month ?? last.current[1]];
  const [m, y] = last.current;
  return (
    <>
      <div class="bar">
        <h1>Policy</h1>
        <span class="soft">
          generation <Num field="policy.generation" value={text.generation} />
        </span>
        <span class="grow" />
        <NeverUsed text={text} month={y} />
      </div>
      <div class="policy-text">
        {text.sources.map((source) => (
          <SourceView key={source.file} source={source} minute={m} month={y} />
        ))}
      </div>
    </>
  );
}

/** What nobody uses, one after the other. */
function NeverUsed({ text, month }: { text: PolicyText; month: PolicyUsage | null }) {
  const line = useStore(place, (p) => p.line);
  if (!month || month.observed_since === null) return <span class="soft small">use not known yet</span>;
  const unused = new Set(month.grants.filter((g) => g.last_seen === null).map((g) => g.name));
  const found = text.sources
    .flatMap((s) => blocks(s.file, s.text))
    .filter((b) => b.kind === "grant" && unused.has(b.name));
  if (!found.length) return <span class="soft small">every grant was used in 30 d</span>;
  const next = found.find((b) => b.line > (line ?? 0)) ?? found[0]!;
  return (
    <button
      type="button"
      class="chip"
      onClick={() => go({ line: next.line, sel: null }, "replace")}
      title="Go to the next one"
    >
      {found.length} never used <Icon name="down" size={12} />
    </button>
  );
}

function SourceView({
  source,
  minute,
  month,
}: {
  source: SourceText;
  minute: PolicyUsage | null;
  month: PolicyUsage | null;
}) {
  const line = useStore(place, (p) => p.line);
  const sel = useStore(place, (p) => p.sel);
  const found = useMemo(() => blocks(source.file, source.text), [source]);
  const at = useMemo(() => new Map(found.filter((b) => b.kind === "grant").map((b) => [b.line, b])), [found]);
  const chosen = found.find((b) => sel === `grant:${b.name}` && b.kind === "grant");
  const target = useRef<HTMLDivElement>(null);
  useEffect(() => {
    target.current?.scrollIntoView({ block: "center" });
  }, [line, source.file]);
  const lines = source.text.split("\n");
  return (
    <section aria-label={source.file}>
      <div class="file-name mono">{source.file}</div>
      <div class="source">
        {lines.map((text, i) => {
          const no = i + 1;
          const grant = at.get(no);
          const lit = chosen && no >= chosen.line && no <= chosen.last;
          return (
            <div
              key={no}
              class={`src-line ${no === line ? "at-line" : ""} ${lit ? "lit" : ""}`}
              ref={no === line ? target : undefined}
            >
              <a
                class="src-no"
                href={`?line=${no}`}
                aria-label={`Line ${no}`}
                onClick={(e) => {
                  e.preventDefault();
                  go({ line: no }, "replace");
                }}
              >
                {no}
              </a>
              <code>{tokens(text)}</code>
              {grant ? <Use block={grant} minute={minute} month={month} /> : null}
            </div>
          );
        })}
      </div>
    </section>
  );
}

function Use({ block, minute, month }: { block: Block; minute: PolicyUsage | null; month: PolicyUsage | null }) {
  const now = minute?.grants.find((g) => g.name === block.name);
  const ever = month?.grants.find((g) => g.name === block.name);
  const f = (name: string) => `policy/usage[${block.name}].${name}`;
  if (!ever) return <span class="use soft">{month ? "not counted" : "…"}</span>;
  return (
    <a
      class={`use ${ever.last_seen === null ? "never" : now?.flows ? "busy" : ""}`}
      href={`?sel=grant:${block.name}`}
      onClick={(e) => {
        e.preventDefault();
        go({ sel: `grant:${block.name}` });
      }}
    >
      {ever.last_seen === null ? (
        <>
          {month?.observed_since ? (
            <>
              never used since <When field="policy/usage.observed_since" at={month.observed_since} />
            </>
          ) : (
            "use not known"
          )}
        </>
      ) : (
        <>
          <i class="dot" aria-hidden="true" />
          {now?.flows ? (
            <>
              <Num
                field={`policy/usage?within=60[${block.name}].flows`}
                value={now.flows}
                of={`${plural(now.flows, "flow")} a minute`}
              />{" "}
              ·{" "}
            </>
          ) : null}
          <Num field={f("bytes")} value={ever.bytes} as="bytes" /> in 30 d · last{" "}
          <When field={f("last_seen")} at={ever.last_seen} />
        </>
      )}
    </a>
  );
}
