// What the look promises: contrast in both looks, and a bundle that is small, whole and asks nobody outside.
import { describe, expect, test } from "vitest";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const root = join(import.meta.dirname, "../..");
const css = readFileSync(join(root, "src/style/base.css"), "utf8");
const read = (block: string) =>
  Object.fromEntries([...block.matchAll(/--([a-z-]+):\s*(#[0-9a-f]{6})/g)].map((m) => [m[1]!, m[2]!]));
const light = read(/:root \{([^}]*)\}/.exec(css)![1]!);
const dark = read(/:root\[data-theme="dark"\] \{([^}]*)\}/.exec(css)![1]!);
const darkBySystem = read(/:root:not\(\[data-theme="light"\]\) \{([^}]*)\}/.exec(css)![1]!);

function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5]
    .map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}
function contrast(a: string, b: string): number {
  const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
  return (x! + 0.05) / (y! + 0.05);
}

describe.each([
  ["light", light],
  ["dark", dark],
] as const)("the %s look", (_, c) => {
  test.each(["ink", "soft", "accent", "deny", "amber", "fine", "t-key", "t-string", "t-value"])(
    "%s is readable on every surface",
    (name) => {
      for (const surface of ["ground", "surface", "raised", "select"])
        expect({ name, surface, ok: contrast(c[name]!, c[surface]!) >= 4.5 }).toEqual({ name, surface, ok: true });
    },
  );
  test("so is what stands on a surface of its own", () => {
    for (const [ink, on] of [
      ["amber", "amber-soft"],
      ["ink", "deny-soft"],
      ["soft", "deny-soft"],
      ["ink", "accent-soft"],
      ["surface", "accent"],
    ] as const)
      expect({ ink, on, ok: contrast(c[ink]!, c[on]!) >= 4.5 }).toEqual({ ink, on, ok: true });
  });
});

test("dark by choice is dark by system", () => expect(darkBySystem).toEqual(dark));

describe.runIf(existsSync(join(root, "dist")))("the bundle", () => {
  const files = readdirSync(join(root, "dist"), { recursive: true, withFileTypes: true })
    .filter((f) => f.isFile())
    .map((f) => join(f.parentPath, f.name));
  test("is under 300 KB, compressed", () =>
    expect(files.reduce((a, f) => a + gzipSync(readFileSync(f)).length, 0)).toBeLessThan(300_000));
  test("names no other place and has no script or style in the page", () => {
    for (const file of files) {
      const addresses = readFileSync(file, "utf8").match(/https?:\/\/[^\s"'`)]+/g) ?? [];
      expect(addresses.filter((a) => !a.startsWith("http://www.w3.org/"))).toEqual([]);
    }
    const html = readFileSync(join(root, "dist/index.html"), "utf8");
    expect(html).not.toMatch(/<style|<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=/);
  });
});

test("no source turns text into markup", () => {
  const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" }).filter(
    (f) => /\.tsx?$/.test(f) && !f.includes("__tests__"),
  );
  for (const file of sources)
    expect(readFileSync(join(root, "src", file), "utf8")).not.toMatch(
      /dangerouslySetInnerHTML|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/,
    );
});
