// A table that stays quick with thousands of rows: only the rows in sight are drawn. Arrows move, Enter opens.
import type { ComponentChildren, TargetedKeyboardEvent } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

export interface Column<T> {
  id: string;
  head: ComponentChildren;
  /** A CSS grid track. */
  track: string;
  cell: (row: T) => ComponentChildren;
  right?: boolean;
  /** Left out where there is little room: 1 first, 2 next. */
  spare?: 1 | 2;
}

const HIGH = 36;

export interface TableProps<T> {
  label: string;
  rows: readonly T[];
  columns: readonly Column<T>[];
  keyOf: (row: T) => string;
  selected?: string | null;
  onOpen?: (row: T) => void;
  rowClass?: (row: T) => string;
  empty?: ComponentChildren;
}

export function Table<T>({ label, rows, columns, keyOf, selected, onOpen, rowClass, empty }: TableProps<T>) {
  const body = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(800);
  const [active, setActive] = useState<string | null>(null);
  useLayoutEffect(() => {
    const element = body.current;
    if (!element) return;
    const watch = new ResizeObserver(() => setHeight(element.clientHeight));
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  useLayoutEffect(() => {
    body.current?.style.setProperty("--tracks", columns.map((c) => c.track).join(" "));
    body.current?.style.setProperty(
      "--tracks-1",
      columns
        .filter((c) => c.spare !== 2)
        .map((c) => c.track)
        .join(" "),
    );
    body.current?.style.setProperty(
      "--tracks-2",
      columns
        .filter((c) => !c.spare)
        .map((c) => c.track)
        .join(" "),
    );
  }, [columns]);
  const first = Math.max(0, Math.floor(top / HIGH) - 8);
  const last = Math.min(rows.length, first + Math.ceil(height / HIGH) + 18);
  const at = rows.findIndex((row) => keyOf(row) === (active ?? selected));
  const move = (to: number) => {
    const index = Math.max(0, Math.min(rows.length - 1, to));
    const row = rows[index];
    if (!row) return;
    setActive(keyOf(row));
    const element = body.current!;
    const y = index * HIGH;
    if (y < element.scrollTop) element.scrollTop = y;
    if (y + HIGH * 2 > element.scrollTop + element.clientHeight)
      element.scrollTop = y + HIGH * 2 - element.clientHeight;
  };
  const onKeyDown = (event: TargetedKeyboardEvent<HTMLDivElement>) => {
    if (event.target !== event.currentTarget) return;
    const page = Math.floor(height / HIGH) - 1;
    const steps: Record<string, number> = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -rows.length,
      End: rows.length,
    };
    const step = steps[event.key];
    if (step !== undefined) {
      event.preventDefault();
      move(at < 0 ? (step < 0 ? rows.length - 1 : 0) : at + step);
    } else if (event.key === "Enter" && rows[at]) {
      event.preventDefault();
      onOpen?.(rows[at]);
    }
  };
  const cls = (c: Column<T>) =>
    `${c.right ? "right" : columns[columns.indexOf(c) - 1]?.right ? "after" : ""} ${c.spare ? `spare-${c.spare}` : ""}`;
  return (
    <div
      class="table"
      role="grid"
      aria-label={label}
      aria-rowcount={rows.length + 1}
      tabIndex={0}
      ref={body}
      data-table
      onScroll={(e) => setTop(e.currentTarget.scrollTop)}
      onKeyDown={onKeyDown}
      aria-activedescendant={at >= 0 ? `row-${at}` : undefined}
    >
      <div class="thead" role="row" aria-rowindex={1}>
        {columns.map((c) => (
          <div role="columnheader" key={c.id} class={cls(c)}>
            {c.head}
          </div>
        ))}
      </div>
      {rows.length === 0 ? empty : null}
      <Spacer height={first * HIGH} />
      {rows.slice(first, last).map((row, i) => {
        const key = keyOf(row);
        return (
          <div
            key={key}
            id={`row-${first + i}`}
            role="row"
            aria-rowindex={first + i + 2}
            aria-selected={key === selected}
            class={`tr ${key === selected ? "selected" : ""} ${key === active ? "active" : ""} ${onOpen ? "opens" : ""} ${rowClass?.(row) ?? ""}`}
            onClick={() => {
              setActive(key);
              onOpen?.(row);
            }}
          >
            {columns.map((c) => (
              <div role="gridcell" key={c.id} class={cls(c)}>
                {c.cell(row)}
              </div>
            ))}
          </div>
        );
      })}
      <Spacer height={(rows.length - last) * HIGH} />
    </div>
  );
}

function Spacer({ height }: { height: number }) {
  return <div aria-hidden="true" style={{ height: `${Math.max(0, height)}px` }} />;
}
