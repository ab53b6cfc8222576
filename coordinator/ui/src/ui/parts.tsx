// The small parts all pages are made of.
import type { ComponentChildren, TargetedMouseEvent } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ago, bytes, count, micros, port, span, UNKNOWN, utc, visible } from "../format";
import { VERDICT_WORDS } from "../map/graph";
import { clock, go, href } from "../state/live";
import { useStore } from "../state/store";
import type { Place } from "../state/url";
import { Icon } from "./icons";
import type { Problem } from "../api/types";

const FORMS = { bytes, count, micros, seconds: span } as const;
export type Form = keyof typeof FORMS;

/** A number of the API. `field` names where it stands there; what is not known is said, never drawn as zero. */
export function Num({
  field,
  value,
  as = "count",
  of,
  className,
}: {
  field: string;
  value: number | null | undefined;
  as?: Form;
  of?: string;
  className?: string;
}) {
  if (value === null || value === undefined)
    return (
      <span class="unknown" data-field={field} data-value="null">
        {UNKNOWN}
      </span>
    );
  return (
    <span
      class={`num ${className ?? ""}`}
      data-field={field}
      data-value={value}
      data-form={as}
      title={as === "bytes" ? `${count(value)} bytes` : undefined}
    >
      {FORMS[as](value)}
      {of ? ` ${of}` : ""}
    </span>
  );
}

/** How long ago, and exactly when on hover. */
export function When({ field, at, none = UNKNOWN }: { field: string; at: number | null | undefined; none?: string }) {
  const now = useStore(clock);
  if (at === null || at === undefined)
    return (
      <span class="unknown" data-field={field} data-value="null">
        {none}
      </span>
    );
  return (
    <time class="num" dateTime={new Date(at * 1000).toISOString()} title={utc(at)} data-field={field} data-value={at}>
      {ago(at, now)}
    </time>
  );
}

const VERDICT_ICON: Record<string, "check" | "cross" | "dash" | "dots"> = {
  allow: "check",
  deny: "cross",
  "would-deny": "dash",
  "would-allow": "dots",
};

/** Shape, word and colour: any one of them is enough. */
export function VerdictMark({ verdict, tries }: { verdict: string; tries?: boolean }) {
  return (
    <span class={`verdict v-${verdict}`}>
      <Icon name={VERDICT_ICON[verdict] ?? "dots"} />
      {VERDICT_WORDS[verdict] ?? verdict}
      {tries ? " tries" : ""}
    </span>
  );
}

/** `tcp/8443`; where ports are not told apart, words. */
export function Port({ protocol, at }: { protocol: number; at: number }) {
  const isFolded = (protocol === 6 || protocol === 17) && at === 0;
  return (
    <span
      class={isFolded ? "soft" : "mono"}
      title={isFolded ? "Attempts at more than 32 ports: the others are counted together" : undefined}
    >
      {port(protocol, at)}
    </span>
  );
}

/** A name from the network: text, isolated, with hidden characters made visible. */
export function Name({ text, mono }: { text: string | null | undefined; mono?: boolean }) {
  if (text === null || text === undefined || text === "") return <span class="unknown">{UNKNOWN}</span>;
  const shown = visible(text);
  return (
    <bdi class={mono ? "mono name" : "name"} title={shown.length > 24 ? shown : undefined}>
      {shown}
    </bdi>
  );
}

export function Link({
  to,
  children,
  className,
  title,
}: {
  to: Partial<Place>;
  children: ComponentChildren;
  className?: string;
  title?: string;
}) {
  return (
    <a
      class={className ?? "link"}
      href={href(to)}
      title={title}
      onClick={(event: TargetedMouseEvent<HTMLAnchorElement>) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey) return;
        event.preventDefault();
        event.stopPropagation();
        go(to);
      }}
    >
      {children}
    </a>
  );
}

export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No clipboard without TLS: an old way that still works.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

export function Copy({ text, label = "Copy" }: { text: string; label?: string }) {
  const [said, say] = useState("");
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <button
      type="button"
      class="copy"
      aria-label={label}
      title={label}
      onClick={() =>
        void copy(text).then((done) => {
          say(done ? "copied" : "select it and copy by hand");
          clearTimeout(timer.current);
          timer.current = setTimeout(() => say(""), 1600);
        })
      }
    >
      <Icon name={said === "copied" ? "check" : "copy"} />
      <span class="said" role="status">
        {said}
      </span>
    </button>
  );
}

/** A command to run, ready to be copied. */
export function Command({ text }: { text: string }) {
  return (
    <div class="command">
      <code>{text}</code>
      <Copy text={text} label="Copy the command" />
    </div>
  );
}

export function Fault({ problem, again }: { problem: Problem; again?: () => void }) {
  return (
    <div class="fault" role="alert">
      <strong>{problem.detail}</strong>
      {problem.hint ? <span>{problem.hint}</span> : null}
      {again ? (
        <button type="button" class="button" onClick={again}>
          Try again
        </button>
      ) : null}
    </div>
  );
}

export function Field({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div class="field">
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

export function Tag({ name }: { name: string }) {
  return (
    <span class="tag">
      <bdi>{visible(name)}</bdi>
    </span>
  );
}

export function Chip({
  on,
  children,
  onClick,
  title,
}: {
  on: boolean;
  children: ComponentChildren;
  onClick: () => void;
  title?: string;
}) {
  return (
    <button type="button" class="chip" aria-pressed={on} onClick={onClick} title={title}>
      {children}
    </button>
  );
}

/** One of several, as a row of buttons. */
export function Choice<T extends string>({
  label,
  value,
  of,
  onChange,
}: {
  label: string;
  value: T;
  of: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
}) {
  return (
    <div class="choice" role="group" aria-label={label}>
      {of.map(([key, word]) => (
        <button type="button" key={key} aria-pressed={key === value} onClick={() => onChange(key)}>
          {word}
        </button>
      ))}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** A page before what it shows is there: that it is asked for, or why it cannot be had. */
export function Pending({ name, problem, again }: { name: string; problem: Problem | null; again: () => void }) {
  return (
    <div class="page">
      <div class="bar">
        <h1>{name}</h1>
      </div>
      {problem ? <Fault problem={problem} again={again} /> : <Loading />}
    </div>
  );
}

export function Loading() {
  return (
    <div class="loading" role="status" aria-label="loading">
      <span />
      <span />
      <span />
    </div>
  );
}
