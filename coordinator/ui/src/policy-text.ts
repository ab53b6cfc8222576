// Where things stand in a policy as it is written. Reads lines, not TOML: it must find its way in a text of any age.

export interface Block {
  /** `grant`, `invariant`, `test`, `service`, `tag`, `group`, `dns`, … */
  kind: string;
  /** The id, or the name in the header. */
  name: string;
  file: string;
  /** 1-based; the header, the first line with its comments, the last line that is not empty. */
  line: number;
  first: number;
  last: number;
  text: string;
}

const HEADER = /^\s*\[(\[)?\s*([A-Za-z0-9_-]+)(?:\s*\.\s*("[^"]*"|[A-Za-z0-9_-]+))?/;

export function blocks(file: string, text: string): Block[] {
  const lines = text.split("\n");
  const found: Block[] = [];
  let inString: string | null = null;
  let open: { kind: string; name: string; line: number } | null = null;
  const close = (end: number) => {
    if (open) found.push(finish(file, lines, open, end));
    open = null;
  };
  for (const [i, line] of lines.entries()) {
    if (inString) {
      if (line.includes(inString)) inString = null;
      continue;
    }
    const header = HEADER.exec(line);
    if (header) {
      close(i);
      open = { kind: header[2]!, name: (header[3] ?? "").replaceAll('"', ""), line: i };
    } else if (open && !open.name) {
      const id = /^\s*id\s*=\s*["']([^"']*)["']/.exec(line);
      if (id) open.name = id[1]!;
    }
    const quote = /("""|''')/.exec(line);
    if (quote && line.indexOf(quote[1]!, quote.index + 3) < 0) inString = quote[1]!;
  }
  close(lines.length);
  return found;
}

function finish(file: string, lines: string[], open: { kind: string; name: string; line: number }, end: number): Block {
  let last = end - 1;
  // Comments above the next header belong to it.
  while (last > open.line && /^\s*(#.*)?$/.test(lines[last]!)) last -= 1;
  let first = open.line;
  while (first > 0 && /^\s*#/.test(lines[first - 1]!)) first -= 1;
  return {
    kind: open.kind,
    name: open.name,
    file,
    line: open.line + 1,
    first: first + 1,
    last: last + 1,
    text: lines.slice(first, last + 1).join("\n"),
  };
}

export type Piece = { as: "plain" | "comment" | "key" | "string" | "header" | "value"; text: string };

/** A line in coloured pieces. */
export function pieces(line: string): Piece[] {
  const out: Piece[] = [];
  let rest = line;
  const take = (as: Piece["as"], n: number) => {
    out.push({ as, text: rest.slice(0, n) });
    rest = rest.slice(n);
  };
  if (/^\s*\[/.test(rest)) {
    const end = rest.indexOf("#");
    take("header", end < 0 ? rest.length : end);
  } else {
    const key = /^\s*[A-Za-z0-9_-]+(?=\s*=)/.exec(rest);
    if (key) take("key", key[0].length);
  }
  while (rest) {
    const string = /^("(?:\\.|[^"\\])*"|'[^']*')/.exec(rest);
    const value = /^(true|false|\d[\d:TZ.+-]*)/.exec(rest);
    if (rest[0] === "#") take("comment", rest.length);
    else if (string) take("string", string[0].length);
    else if (value) take("value", value[0].length);
    else {
      const plain = /^[^"'#\d]+|^./.exec(rest)!;
      take("plain", plain[0].length);
    }
  }
  return out;
}

export type Change = { as: "same" | "gone" | "new"; text: string; before: number | null; after: number | null };

/** Two texts, line by line, by their longest common sequence. */
export function lineDiff(before: string, after: string): Change[] {
  const a = before.split("\n");
  const b = after.split("\n");
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail])
    tail += 1;
  const middle = common(a.slice(head, a.length - tail), b.slice(head, b.length - tail));
  const out: Change[] = [];
  for (let i = 0; i < head; i++) out.push({ as: "same", text: a[i]!, before: i + 1, after: i + 1 });
  for (const m of middle)
    out.push({
      ...m,
      before: m.before === null ? null : m.before + head,
      after: m.after === null ? null : m.after + head,
    });
  for (let i = tail; i > 0; i--)
    out.push({ as: "same", text: a[a.length - i]!, before: a.length - i + 1, after: b.length - i + 1 });
  return out;
}

function common(a: string[], b: string[]): Change[] {
  // Beyond this, all of one and then all of the other says as much and costs less.
  if (a.length * b.length > 4_000_000) {
    return [...a.map((text, i) => gone(text, i)), ...b.map((text, i) => fresh(text, i))];
  }
  const width = b.length + 1;
  const longest = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      const at = i * width + j;
      longest[at] = a[i] === b[j] ? longest[at + width + 1]! + 1 : Math.max(longest[at + width]!, longest[at + 1]!);
    }
  }
  const out: Change[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      out.push({ as: "same", text: a[i]!, before: i + 1, after: j + 1 });
      i += 1;
      j += 1;
    } else if (j >= b.length || (i < a.length && longest[(i + 1) * width + j]! >= longest[i * width + j + 1]!)) {
      out.push(gone(a[i]!, i));
      i += 1;
    } else {
      out.push(fresh(b[j]!, j));
      j += 1;
    }
  }
  return out;
}

const gone = (text: string, i: number): Change => ({ as: "gone", text, before: i + 1, after: null });
const fresh = (text: string, i: number): Change => ({ as: "new", text, before: null, after: i + 1 });
