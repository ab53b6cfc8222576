import { useMemo } from "preact/hooks";
import type { PolicyDiff, PolicyRow, PolicyText, SourceText } from "../../api/types";
import { lineDiff } from "../../policy-text";
import { useResource } from "../../state/resource";
import { Command, Fault, Link as To, Loading } from "../../ui/parts";
import { tokens } from "../../ui/toml";
import { useReview } from "./review";
import { DiffWords } from "./DiffWords";

export function Older({
  generation,
  current,
  history,
}: {
  generation: number;
  current: PolicyText | null;
  history: PolicyRow[];
}) {
  const { data, problem } = useResource<PolicyText>("/policy", { generation });
  const older = history.some((r) => r.generation === generation - 1) ? generation - 1 : null;
  const { data: previous } = useResource<PolicyText>(older === null ? null : "/policy", { generation: older });
  const { data: changed, problem: untold } = useResource<PolicyDiff>("/policy/diff", { to: generation });
  const { data: compared, problem: refused } = useReview(data?.sources ?? null);
  const changes = useMemo(
    () => (data && previous ? fileDiffs(previous.sources, data.sources) : null),
    [data, previous],
  );
  return (
    <>
      <div class="bar">
        <h1>
          Generation <span class="num">{generation}</span>
        </h1>
        <span class="grow" />
        <To to={{ generation: null, line: null }} className="button">
          Back to the present one
        </To>
      </div>
      <div class="policy-text padded">
        {problem ? <Fault problem={problem} /> : null}
        <section class="part">
          <h3>If it were applied again{current ? `, instead of generation ${current.generation}` : ""}</h3>
          {refused ? (
            <Fault problem={refused} />
          ) : compared ? (
            <DiffWords gained={compared.diff.gained} lost={compared.diff.lost} note={compared.diff.note} />
          ) : (
            <Loading />
          )}
          <Command text={`warren policy rollback ${generation}`} />
        </section>
        <section class="part">
          <h3>What it changed{older === null ? "" : ` of what generation ${older} allowed`}</h3>
          {untold ? <Fault problem={untold} /> : changed ? <DiffWords {...changed.diff} /> : <Loading />}
        </section>
        <section class="part">
          <h3>{older === null ? "Its text" : `What it changed in the text of generation ${older}`}</h3>
          {changes?.length === 0 ? <p class="soft">Nothing: the text is the same.</p> : null}
          {changes?.map((c) => (
            <TextDiff key={c.file} {...c} />
          ))}
          {older === null && data
            ? data.sources.map((s) => <TextDiff key={s.file} file={s.file} before="" after={s.text} />)
            : null}
        </section>
      </div>
    </>
  );
}

function fileDiffs(before: readonly SourceText[], after: readonly SourceText[]) {
  const files = [...new Set([...before, ...after].map((s) => s.file))].sort();
  const of = (list: readonly SourceText[], file: string) => list.find((s) => s.file === file)?.text ?? "";
  return files
    .map((file) => ({ file, before: of(before, file), after: of(after, file) }))
    .filter((d) => d.before !== d.after);
}

function TextDiff({ file, before, after }: { file: string; before: string; after: string }) {
  const changes = useMemo(() => lineDiff(before, after), [before, after]);
  const near = changes.map((_, i) => changes.slice(Math.max(0, i - 3), i + 4).some((c) => c.as !== "same"));
  return (
    <div class="text-diff">
      <div class="file-name mono">{file}</div>
      <div class="source">
        {changes.map((c, i) => {
          if (!near[i])
            return near[i - 1] || i === 0 ? (
              <div key={i} class="src-gap">
                ⋯
              </div>
            ) : null;
          return (
            <div key={i} class={`src-line d-${c.as}`}>
              <span class="src-no">{c.after ?? c.before}</span>
              <span class="src-sign">{c.as === "new" ? "+" : c.as === "gone" ? "−" : " "}</span>
              <code>{tokens(c.text)}</code>
            </div>
          );
        })}
      </div>
    </div>
  );
}
