import type { PolicyRow, PolicyText } from "../../api/types";
import { useResource } from "../../state/resource";
import { useReview } from "./review";
import { DiffWords } from "./DiffWords";

/** What the policy in force gave and took when it came: the difference to the one before, read backwards. */
export function LastChange({ current, history }: { current: PolicyText; history: readonly PolicyRow[] }) {
  const before = history.some((r) => r.generation === current.generation - 1) ? current.generation - 1 : null;
  const { data: text } = useResource<PolicyText>(before === null ? null : "/policy", { generation: before });
  const { data, problem } = useReview(text?.sources ?? null, current.generation);
  if (before === null) return null;
  return (
    <section class="side-part">
      <h2>What generation {current.generation} changed</h2>
      {problem ? <p class="soft">{problem.detail}</p> : null}
      {data ? (
        <DiffWords gained={data.diff.lost} lost={data.diff.gained} note={data.diff.note} />
      ) : problem ? null : (
        <p class="soft">asking …</p>
      )}
    </section>
  );
}
