// A grant as it is written, with its place and who applied it.
import type { PolicyRow } from "../api/types";
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
  const { data: history } = useResource<PolicyRow[]>("/policy/history");
  const block = text?.sources
    .flatMap((s) => blocks(s.file, s.text))
    .find((b) => b.kind === "grant" && b.name === grant);
  const row = history?.find((r) => r.generation === generation);
  return (
    <>
      {block ? (
        <div class="written">
          <Toml text={block.text} first={block.first} />
          <To
            to={{ page: "policy", line: block.line, generation: null, q: "", filters: {}, sel: `grant:${grant}` }}
            className="written-foot"
          >
            <span class="mono">
              {block.file}:{block.line}
            </span>
          </To>
        </div>
      ) : (
        <p class="soft">
          Grant <span class="mono">{grant}</span> is not in the present policy
          {text ? ` (generation ${text.generation})` : ""}.
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
