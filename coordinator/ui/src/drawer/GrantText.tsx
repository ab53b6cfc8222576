// A grant as it is written, with its place and who applied it.
import type { PolicyRow, PolicyText } from "../api/types";
import { blocks } from "../policy-text";
import { useResource } from "../state/resource";
import { Link as To, When } from "../ui/parts";
import { Toml } from "../ui/toml";
import type { SheetData } from "./Drawer";

export function GrantText({
  grant,
  text,
  generation,
  said = "Decided at",
}: {
  grant: string;
  text: SheetData["text"];
  generation: number;
  said?: string;
}) {
  // What decided then may have been written otherwise than it is now.
  const isPast = text !== null && generation > 0 && generation !== text.generation;
  const past = useResource<PolicyText>(isPast ? "/policy" : null, { generation });
  const then = isPast ? past.data : text;
  const { data: history } = useResource<PolicyRow[]>("/policy/history");
  const block = then?.sources
    .flatMap((s) => blocks(s.file, s.text))
    .find((b) => b.kind === "grant" && b.name === grant);
  const row = history?.find((r) => r.generation === generation);
  return (
    <>
      {block ? (
        <div class="written">
          <Toml text={block.text} first={block.first} />
          <To
            to={{
              page: "policy",
              line: block.line,
              generation: isPast ? generation : null,
              q: "",
              filters: {},
              sel: `grant:${grant}`,
            }}
            className="written-foot"
          >
            <span class="mono">
              {block.file}:{block.line}
            </span>
          </To>
        </div>
      ) : isPast && !past.data && !past.problem ? (
        <p class="soft">asking …</p>
      ) : past.problem && isPast ? (
        <p class="soft">
          Grant <span class="mono">{grant}</span>: {past.problem.detail}
        </p>
      ) : (
        <p class="soft">
          Grant <span class="mono">{grant}</span> is not in {isPast ? "that" : "the present"} policy
          {then ? ` (generation ${then.generation})` : ""}.
        </p>
      )}
      <p class="soft small">
        {said} generation{" "}
        <To to={{ page: "policy", generation, line: null, sel: null }}>
          <span class="num">{generation}</span>
        </To>
        {row ? (
          <>
            , applied by <span class="mono">{row.by}</span>{" "}
            <When field={`policy/history[${row.generation}].applied`} at={row.applied} />
          </>
        ) : null}
        .
      </p>
    </>
  );
}
