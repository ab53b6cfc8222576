import type { SourceText } from "../../api/types";
import { Fault, Link as To, Loading } from "../../ui/parts";
import { Icon } from "../../ui/icons";
import { useReview } from "./review";

export function Reviewed({ sources }: { sources: SourceText[] }) {
  const { data, problem } = useReview(sources);
  if (problem)
    return (
      <section class="side-part">
        <h2>Proofs</h2>
        <Fault problem={problem} />
      </section>
    );
  if (!data)
    return (
      <section class="side-part">
        <h2>Proofs</h2>
        <Loading />
      </section>
    );
  const word = { proved: "proven", broken: "broken", undecided: "not decided" } as const;
  return (
    <section class="side-part">
      <h2>Invariants and tests</h2>
      {!data.proofs.length && !data.tests.length ? <p class="soft">The policy states none.</p> : null}
      <ul class="proofs">
        {data.proofs.map((p) => (
          <li key={p.id} class={`p-${p.outcome}`} title={p.message}>
            <Icon name={p.outcome === "proved" ? "check" : p.outcome === "broken" ? "cross" : "dash"} />
            <span class="mono">
              <bdi>{p.id}</bdi>
            </span>
            <span class="soft">{word[p.outcome]}</span>
            {p.outcome === "proved" ? null : <p>{p.message}</p>}
          </li>
        ))}
        {data.tests.map((t) => (
          <li key={t.id} class={t.passed ? "p-proved" : "p-broken"} title={t.message}>
            <Icon name={t.passed ? "check" : "cross"} />
            <span class="mono">
              <bdi>{t.id}</bdi>
            </span>
            <span class="soft">{t.passed ? "passed" : "failed"}</span>
            {t.passed ? null : <p>{t.message}</p>}
          </li>
        ))}
        {data.warnings.map((w) => (
          <li key={`${w.file}:${w.line} ${w.id}`} class="p-undecided">
            <Icon name="dash" />
            <span>
              <bdi>{w.message}</bdi>
            </span>
            <To to={{ line: w.line }} className="link mono">
              {w.file}:{w.line}
            </To>
          </li>
        ))}
      </ul>
    </section>
  );
}
