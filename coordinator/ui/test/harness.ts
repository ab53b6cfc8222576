// One headless Chromium and one coordinator: the real one that WARREN_URL and WARREN_KEY name, or the mock.
import { type Browser, type BrowserContext, type Page, chromium } from "playwright-core";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
// @ts-expect-error plain JavaScript
import { KEY, serve } from "../mock/server.mjs";
import { bytes, count, micros, span } from "../src/format";
import { question } from "./fields";

export const SHOTS = process.env.WARREN_SHOTS ?? join(import.meta.dirname, "../target/screenshots");
mkdirSync(SHOTS, { recursive: true });

export interface Coordinator {
  url: string;
  key: string;
  /** Only of the mock. */
  control?: (word: string) => Promise<unknown>;
  close: () => void;
}

export async function coordinator(options: Record<string, unknown> = {}): Promise<Coordinator> {
  const { WARREN_URL, WARREN_KEY } = process.env;
  if (WARREN_URL && WARREN_KEY) return { url: WARREN_URL.replace(/\/$/, ""), key: WARREN_KEY, close: () => {} };
  return mock(options);
}

export async function mock(options: Record<string, unknown> = {}): Promise<Coordinator> {
  const it = (await serve({ port: 0, ...options })) as { url: string; close: () => void };
  return { url: it.url, key: KEY as string, close: it.close, control: (word) => fetch(`${it.url}/mock/${word}`) };
}

export async function open(): Promise<Browser> {
  const path =
    process.env.CHROMIUM ??
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((p) => existsSync(p));
  if (!path) throw new Error("no Chromium: install the package `chromium`, or name the program in CHROMIUM");
  return chromium.launch({ executablePath: path, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/** A page whose every complaint is kept. */
export interface Watched {
  context: BrowserContext;
  page: Page;
  /** Errors of the console, of scripts, of the policy, and requests that leave the coordinator. */
  complaints: string[];
}

export async function watched(
  browser: Browser,
  c: Coordinator,
  options: Parameters<Browser["newContext"]>[0] = {},
): Promise<Watched> {
  const context = await browser.newContext({
    viewport: { width: 1440, height: 860 },
    ignoreHTTPSErrors: true,
    ...options,
  });
  const page = await context.newPage();
  const complaints: string[] = [];
  await page.exposeFunction("complain", (text: string) => complaints.push(text));
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (e) =>
      (window as unknown as { complain: (t: string) => void }).complain(
        `policy: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`,
      ),
    );
  });
  page.on("pageerror", (error) => complaints.push(`script: ${error.message}`));
  page.on("console", (m) => {
    // The browser itself notes an answer of 401: that is how one learns that one is not signed in.
    const expected = m.text().includes("401") && m.location().url.includes("/v1/session");
    if (["error", "warning"].includes(m.type()) && !expected)
      complaints.push(`console: ${m.text()} ${m.location().url}`);
  });
  page.on("dialog", (d) => {
    complaints.push(`dialog: ${d.message()}`);
    void d.dismiss();
  });
  page.on("request", (r) => {
    if (!r.url().startsWith(c.url) && !r.url().startsWith("data:") && !r.url().startsWith("blob:"))
      complaints.push(`request: ${r.url()}`);
  });
  return { context, page, complaints };
}

export async function signIn({ page }: Watched, c: Coordinator): Promise<void> {
  await page.goto(`${c.url}/map`);
  await page.getByLabel("or give an API key").fill(c.key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForSelector(".frame");
}

export const api = async <T>(c: Coordinator, path: string): Promise<T> => {
  const reply = await fetch(`${c.url}/v1${path}`, { headers: { authorization: `Bearer ${c.key}` } });
  if (!reply.ok) throw new Error(`${path}: ${reply.status} ${await reply.text()}`);
  return (await reply.json()) as T;
};

interface Shown {
  field: string;
  value: string;
  form: string | null;
  text: string;
  title: string;
}

/** Of a network that lives: when a key or an edge was last used is newer each time one asks; asking is use. */
const moves = (field: string) => /\.(last_used|last_seen)$/.test(field);
const isOlder = (shown: number, truth: number) => shown <= truth && truth - shown < 60;

const FORMS: Record<string, (n: number) => string> = { bytes, count, micros, seconds: span };

/** Every number on the page against the API; the differences, and how many were compared. */
export async function differences(
  page: Page,
  c: Coordinator,
  query: Record<string, string>,
): Promise<{ compared: number; wrong: string[] }> {
  const shown: Shown[] = await page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>("[data-field]")].map((e) => ({
      field: e.dataset.field!,
      value: e.dataset.value!,
      form: e.dataset.form ?? null,
      text: e.textContent ?? "",
      title: e.title,
    })),
  );
  const documents = new Map<string, unknown>();
  const wrong: string[] = [];
  for (const s of shown) {
    const q = question(s.field);
    if (!q) {
      wrong.push(`${s.field}: names no field of the API`);
      continue;
    }
    const extra = query[q.source.split("?")[0]!] ?? "";
    const source = q.source + (extra ? (q.source.includes("?") ? "&" : "?") + extra : "");
    if (!documents.has(source)) documents.set(source, await api(c, source));
    const truth = q.read(documents.get(source));
    if (truth === undefined) wrong.push(`${s.field}: the API has no such value, the page says ${s.text}`);
    else if (c.control === undefined && moves(s.field) && typeof truth === "number" && isOlder(Number(s.value), truth))
      continue;
    else if (truth === null ? s.value !== "null" : Number(s.value) !== truth)
      wrong.push(`${s.field}: the API says ${truth}, the page ${s.value}`);
    else if (truth === null) {
      if (/^[0-9]/.test(s.text)) wrong.push(`${s.field}: not known, but shown as ${s.text}`);
    } else if (s.form && FORMS[s.form] && !s.text.startsWith(FORMS[s.form]!(truth)))
      wrong.push(`${s.field}: ${truth} is shown as ${s.text}`);
  }
  return { compared: shown.length, wrong };
}

/** Traffic goes on while one looks: what differs is looked at again, for a while. */
export async function agrees(
  page: Page,
  c: Coordinator,
  query: Record<string, string> = {},
  patience = 15_000,
): Promise<number> {
  const until = Date.now() + patience;
  for (;;) {
    const { compared, wrong } = await differences(page, c, query);
    if (!wrong.length) return compared;
    if (Date.now() > until)
      throw new Error(
        `${wrong.length} of ${compared} numbers differ on ${page.url()}:\n${wrong.slice(0, 20).join("\n")}`,
      );
    await page.waitForTimeout(500);
  }
}

/** Loaded: nothing is under way and nothing says it waits. */
export async function settled(page: Page): Promise<void> {
  await page.waitForSelector(".frame");
  await page.waitForFunction(() => !document.querySelector("main .loading, .drawer .loading, .map-page.waiting"));
  await page.waitForTimeout(300);
}
