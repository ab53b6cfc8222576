import { pieces } from "../policy-text";
import { visible } from "../format";

/** A piece of policy with the numbers of its lines. */
export function Toml({ text, first = 1 }: { text: string; first?: number }) {
  return (
    <pre class="toml">
      {text.split("\n").map((line, i) => (
        <div class="toml-line" key={i}>
          <span class="toml-no" aria-hidden="true">
            {first + i}
          </span>
          <code>{tokens(line)}</code>
        </div>
      ))}
    </pre>
  );
}

export function tokens(line: string) {
  return pieces(line).map((p, i) =>
    p.as === "plain" ? (
      visible(p.text)
    ) : (
      <span key={i} class={`t-${p.as}`}>
        {visible(p.text)}
      </span>
    ),
  );
}
