// The page in a real browser: every view, every number, both looks, keyboard, a phone, hostile names, and a coordinator that goes away.
// Against the mock, or with WARREN_URL and WARREN_KEY against a coordinator (what needs the mock is then left out, and said).
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Browser, Page } from "playwright-core";
import { join } from "node:path";
import type { Answer, FlowMap, FlowRow, NodeRow, PathsView } from "../src/api/types";
import { visible } from "../src/format";
import {
  agrees,
  api,
  coordinator,
  type Coordinator,
  mock,
  open,
  settled,
  SHOTS,
  signIn,
  watched,
  type Watched,
} from "./harness";

const isReal = Boolean(process.env.WARREN_URL);
let browser: Browser;
let c: Coordinator;
beforeAll(async () => {
  browser = await open();
  c = await coordinator({ size: 10, late: [2, 3] });
  // Until what appears late has appeared; then the mock stands still, so that numbers can be compared to the last digit.
  if (!isReal) await new Promise((r) => setTimeout(r, 6000));
  await c.control?.("freeze");
}, 60_000);
afterAll(async () => {
  await c.control?.("thaw");
  await browser.close();
  c.close();
});

const shoot = (page: Page, name: string) => page.screenshot({ path: join(SHOTS, `${name}.png`) });

describe("every view", () => {
  let w: Watched;
  let at = 0;
  let map: FlowMap;
  let nodes: NodeRow[];
  beforeAll(async () => {
    w = await watched(browser, c);
    await signIn(w, c);
    at = (await api<{ now: number }>(c, "/status")).now - 5;
    map = await api<FlowMap>(c, `/map?at=${at}&window=300`);
    nodes = await api<NodeRow[]>(c, "/nodes?revoked=true");
  });
  afterAll(() => w.context.close());

  const past = () => ({ "/map": `at=${at}&window=300` });
  const look = async (path: string, name: string, query: Record<string, string>, least: number) => {
    await w.page.goto(c.url + path);
    await settled(w.page);
    const compared = await agrees(w.page, c, query);
    await shoot(w.page, name);
    expect(compared, `${name}: numbers that could be compared`).toBeGreaterThanOrEqual(least);
    expect(w.complaints).toEqual([]);
  };

  test("the map, live", () => look("/map", "map", {}, 6));
  test("the map of a moment in the past", () => look(`/map?at=${at}`, "map-past", past(), 6));
  test("the map by site and by node", async () => {
    await look(`/map?at=${at}&group=site`, "map-site", past(), 6);
    await look(`/map?at=${at}&group=node`, "map-node", past(), 6);
  });
  test("the map as a table", () => look(`/map?at=${at}&view=table`, "map-table", past(), map.edges.length));
  test("an edge of each verdict", async () => {
    for (const verdict of new Set(map.edges.map((e) => e.verdict))) {
      const edge = map.edges.find((e) => e.verdict === verdict)!;
      await look(
        `/map?at=${at}&sel=edge:${edge.id}`,
        `edge-${verdict}`,
        { ...past(), "/flows": `limit=10000&since=1&verdict=${verdict}` },
        6,
      );
      expect(await w.page.textContent(".drawer")).toContain(
        { allow: "allowed", deny: "refused", "would-allow": "would allow", "would-deny": "would deny" }[verdict],
      );
    }
  });
  test("of an edge of an earlier generation the grant is shown as it was then", async () => {
    const edge = map.edges.find((e) => e.verdict === "allow" && e.grant);
    if (isReal || !edge) return;
    const then = edge.generation - 1;
    // The same edge, judged by the generation before, in which the grant was written otherwise.
    await w.page.route(/\/v1\/map\?/, async (route) => {
      const answer = await route.fetch();
      const told = (await answer.json()) as FlowMap;
      for (const e of told.edges) if (e.id === edge.id) e.generation = then;
      await route.fulfill({ response: answer, json: told });
    });
    await w.page.route(/\/v1\/policy\?generation=/, async (route) => {
      const answer = await route.fetch();
      const told = (await answer.json()) as { generation: number; sources: { text: string }[] };
      expect(told.generation).toBe(then);
      for (const s of told.sources)
        s.text = `# as it was\n[[grant]]\nid = "${edge.grant}"\nfrom = ["tag:of-then"]\nto = ["*"]\n`;
      await route.fulfill({ response: answer, json: told });
    });
    await w.page.goto(`${c.url}/map?at=${at}&sel=edge:${edge.id}`);
    await w.page.waitForSelector(".drawer .written");
    await w.page.getByText("tag:of-then").waitFor({ timeout: 10_000 });
    expect(await w.page.textContent(".drawer")).toContain(`generation ${then}, applied by`);
    await w.page.unrouteAll({ behavior: "wait" });
  });
  test("a node, a service, a group", async () => {
    const flows = { "/flows": `since=1&until=${at}` };
    await look(`/map?at=${at}&sel=node:${nodes[0]!.id}`, "node", { ...past(), ...flows }, 8);
    const said = await w.page.textContent(".drawer");
    // What one asks of a node: who it is, what it enforces, its peers, its paths, its names, its processes.
    for (const word of ["Enforces", "Peers", "Paths", "DNS", "Workloads", "Node id", "warren-node dns status"])
      expect(said).toContain(word);
    for (const name of nodes[0]!.dns) expect(said).toContain(name);
    await look(`/map?at=${at}&sel=service:${encodeURIComponent(map.services[0]!.name)}`, "service", past(), 6);
    const tag = map.nodes.find((n) => n.tags.length)?.tags[0];
    if (tag) await look(`/map?at=${at}&sel=${encodeURIComponent(`tag:${tag}`)}`, "group", past(), 6);
  });
  test("whose traffic it is: at both ends of a flow, of an edge, and on a node", async () => {
    const { rows } = await api<{ rows: FlowRow[] }>(c, "/flows?limit=2000");
    const both = (r: FlowRow) => r.workload && r.other?.workload && r.outbound;
    const row = rows.find(both) ?? rows.find((r) => r.workload && r.outbound);
    if (!isReal) expect(row && both(row), "the mock knows both").toBeTruthy();
    if (!row) return;
    await w.page.goto(`${c.url}/flows`);
    await settled(w.page);
    await w.page.goto(
      `${c.url}/flows?window=3600&sel=${encodeURIComponent(`flow:${row.reporter}.${row.boot}.${row.flow}`)}`,
    );
    await settled(w.page);
    await w.page.waitForSelector(".drawer .workload");
    const sheet = await w.page.textContent(".drawer");
    for (const workload of [row.workload, row.other?.workload ?? null])
      for (const word of Object.values(workload ?? {})) if (word) expect(sheet).toContain(visible(word));
    await shoot(w.page, "flow");
    const opener = row.workload!.process || row.workload!.executable;
    const edge = map.edges.find(
      (e) => e.from.node === row.from.node && e.to.node === row.to.node && e.grant === row.grant,
    );
    if (edge) {
      await w.page.goto(`${c.url}/map?sel=edge:${edge.id}`);
      await w.page.waitForSelector(".drawer .workload-line");
      const said = await w.page.textContent(".drawer");
      expect(said).toContain("Opened by");
      expect(said).toContain(visible(opener));
    }
    await w.page.goto(`${c.url}/map?sel=node:${row.from.node}`);
    await w.page.waitForSelector(".drawer .workload-line");
    expect(await w.page.textContent(".drawer")).toContain(visible(opener));
    expect(w.complaints).toEqual([]);
  });
  test("which way packets take, and why, as the API says it", async () => {
    const { paths } = await api<PathsView>(c, "/paths?limit=2000");
    if (!isReal) expect(new Set(paths.map((p) => p.why)), "the mock has all kinds").toHaveProperty("size", 3);
    for (const row of [paths.find((p) => p.relayed), paths.find((p) => p.relayed === false)]) {
      if (!row) continue;
      await w.page.goto(`${c.url}/map?sel=node:${row.from}`);
      await settled(w.page);
      await w.page.waitForSelector(".drawer .way");
      for (const way of await w.page.$$(".drawer .way summary")) await way.click();
      await agrees(w.page, c, {});
      const mine = paths.filter((p) => p.from === row.from).slice(0, 20);
      const said = await w.page.textContent(".drawer");
      for (const p of mine)
        for (const text of [p.text, ...p.places.map((place) => place.place)]) expect(said).toContain(text);
      await w.page.$eval(".drawer .way", (way) => way.scrollIntoView());
      await shoot(w.page, row.relayed ? "ways-relayed" : "ways-direct");
    }
    expect(w.complaints).toEqual([]);
  });
  test("ports that are not told apart are words, wherever a port stands", async () => {
    const folded = map.edges.find((e) => e.port === 0 && [6, 17].includes(e.protocol));
    if (!isReal) expect(folded, "the mock has a scan").toBeTruthy();
    if (!folded) return;
    for (const path of ["/map?view=table", `/map?sel=edge:${folded.id}`, "/flows"]) {
      await w.page.goto(c.url + path + (path.includes("map") ? `&at=${at}` : ""));
      await settled(w.page);
      const said = (await w.page.textContent("#app"))!;
      expect(said, path).not.toMatch(/(tcp|udp)\/0\b/);
      if (path.includes("map")) expect(said, path).toContain("other tcp ports");
    }
    await shoot(w.page, "edge-scan");
  });
  test("a grant", async () => {
    const grant = map.edges.find((e) => e.grant)?.grant;
    if (grant) await look(`/policy?at=${at}&sel=${encodeURIComponent(`grant:${grant}`)}`, "grant", past(), 6);
  });
  test("flows", () => look("/flows", "flows", { "/flows": `limit=10000&since=${at - 400}` }, 10));
  test("the policy", () => look("/policy", "policy", {}, 8));
  test("the `can` box answers as one types, without a key or a click, what the API answers", async () => {
    await w.page.goto(`${c.url}/policy`);
    await settled(w.page);
    const box = w.page.locator(".can");
    const said = () => box.locator(".can-answer").textContent();
    const allowed = map.edges.find((e) => e.verdict === "allow" && e.service && e.from.name && e.to.name)!;
    const refused = map.edges.find((e) => e.verdict === "deny" && e.from.name && e.to.name)!;
    const questions = [
      [allowed.from.name!, allowed.service!, ""],
      [allowed.from.name!, allowed.to.name!, `tcp/${allowed.port}`],
      [refused.from.name!, refused.to.name!, ""],
    ] as const;
    for (const question of questions) {
      for (const [at, label] of ["From", "To", "Port"].entries()) {
        const field = box.getByLabel(label, { exact: true });
        await field.fill("");
        await field.pressSequentially(question[at]!, { delay: 10 });
      }
      const [from, to, port] = question.map(encodeURIComponent);
      const answer = await api<Answer>(c, `/can?from=${from}&to=${to}${port ? `&port=${port}` : ""}`);
      const word = answer.yes ? "Yes" : answer.passes.length ? `Partly: ${answer.passes.length} of` : "No";
      await expect.poll(said, { timeout: 5000 }).toContain(word);
      for (const { grant } of answer.passes.slice(0, 1)) expect(await said()).toContain(`by ${grant}`);
      for (const { reason } of answer.fails.slice(0, 4)) expect(await said()).toContain(reason);
    }
    await shoot(w.page, "policy-can");
    // One letter more is another question: what was answered before does not stand beside it.
    const stale = await w.page.evaluate(async () => {
      const to = document.querySelector<HTMLInputElement>("#can-b")!;
      to.value += "x";
      to.dispatchEvent(new Event("input", { bubbles: true }));
      for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
      return document.querySelector(".can-answer")!.textContent;
    });
    expect(stale).not.toMatch(/Yes|No|Partly/);
    const nobody = await w.page.inputValue("#can-b");
    await expect.poll(said, { timeout: 5000 }).toContain(`\`${nobody}\``);
    // While one types, half a name is the name of nobody: the browser notes each refusal.
    expect(w.complaints.filter((t) => !/\b4(00|04|22)\b/.test(t))).toEqual([]);
    w.complaints.length = 0;
  });
  test("an older policy", async () => {
    const history = await api<{ generation: number; current: boolean }[]>(c, "/policy/history");
    const older = history.find((r) => !r.current);
    if (older) await look(`/policy?generation=${older.generation}`, "policy-older", {}, 4);
  });
  test("nodes", () => look("/nodes", "nodes", {}, nodes.length));
  test("tokens and keys", () => look("/tokens", "tokens", {}, 4));
  test("alarms", () => look("/alarms", "alarms", {}, 4));
  test("audit", async () => {
    await look("/audit", "audit", {}, 10);
    await w.page.getByRole("button", { name: "Verify the chain" }).click();
    await w.page.waitForSelector(".verified");
    await agrees(w.page, c);
  });
  test("an address that names nothing says so, and breaks nothing", async () => {
    for (const sel of [
      "edge:ffff",
      "node:ffff",
      "service:%00",
      "link:x",
      "link:g%2Fa,b",
      "flow:x",
      "alarm:x",
      "token:x",
      "audit:x",
      "grant:x",
      "group:x",
      "nonsense",
      "%25",
    ]) {
      await w.page.goto(`${c.url}/map?at=${at}&sel=${sel}`);
      await settled(w.page);
    }
    // The API itself says 404 of a node that is not there.
    expect(w.complaints.filter((t) => !t.includes("404"))).toEqual([]);
    w.complaints.length = 0;
  });
  test("what was refused is counted where it is seen", async () => {
    const denied = map.edges.filter((e) => e.verdict === "deny");
    if (!denied.length) return;
    await w.page.goto(`${c.url}/map?at=${at}&verdict=deny`);
    await settled(w.page);
    expect(await w.page.getAttribute('.map-foot [data-field="map.edges.length"]', "data-value").catch(() => null)).toBe(
      String(denied.length),
    );
  });
});

describe("keyboard", () => {
  test("all of the page can be reached without a pointer", async () => {
    const w = await watched(browser, c);
    await signIn(w, c);
    await settled(w.page);
    const press = async (...keys: string[]) => {
      for (const key of keys) await w.page.keyboard.press(key);
    };
    for (const [key, page] of [
      ["f", "flows"],
      ["p", "policy"],
      ["n", "nodes"],
      ["t", "tokens"],
      ["a", "alarms"],
      ["u", "audit"],
      ["m", "map"],
    ] as const) {
      await press("g", key);
      await w.page.waitForURL(`**/${page}*`);
    }
    await settled(w.page);
    // The list of keys opens and closes.
    await press("?");
    await w.page.waitForSelector("dialog[open]");
    await press("Escape");
    await w.page.waitForSelector("dialog[open]", { state: "detached" });
    // Search: a name, its node, and back.
    const nodes = await api<NodeRow[]>(c, "/nodes");
    const name = nodes.find((n) => /^[a-z0-9-]+$/.test(n.name))!.name;
    await press("/");
    await w.page.keyboard.type(`node:${name}`);
    await w.page.waitForSelector(".hits [role=option]");
    await press("ArrowDown", "Enter");
    await w.page.waitForSelector(".drawer");
    expect(await w.page.textContent(".drawer h2")).toBe(name);
    await press("Escape");
    await w.page.waitForSelector(".drawer", { state: "detached" });
    // Boxes of the map: arrows go from one to another, Enter opens.
    await w.page.locator(".scene .slot").first().focus();
    const before = await w.page.evaluate(() => (document.activeElement as HTMLElement).dataset.slot);
    const focused = () => w.page.evaluate(() => (document.activeElement as HTMLElement).dataset.slot);
    let after = before;
    for (const key of ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"]) {
      if (after === before) await press(key);
      after = await focused();
    }
    expect(after).toBeTruthy();
    expect(after).not.toBe(before);
    await press("Enter");
    await w.page.waitForSelector(".drawer");
    await press("Escape");
    // Rows of a table: arrows and Enter.
    await press("g", "n");
    await w.page.waitForSelector(".table .tr");
    await w.page.locator(".table").first().focus();
    await press("ArrowDown", "ArrowDown", "Enter");
    await w.page.waitForSelector(".drawer");
    expect(new URL(w.page.url()).searchParams.get("sel")).toMatch(/^node:/);
    expect(w.complaints).toEqual([]);
    await w.context.close();
  });
});

describe("looks", () => {
  test.each(["light", "dark"] as const)("%s", async (look) => {
    const w = await watched(browser, c, { colorScheme: look });
    await signIn(w, c);
    for (const page of ["map", "flows", "policy", "nodes"]) {
      await w.page.goto(`${c.url}/${page}`);
      await settled(w.page);
      await shoot(w.page, `${look}-${page}`);
    }
    const ground = () => w.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const first = await ground();
    await w.page.getByRole("button", { name: look === "light" ? "Dark look" : "Light look" }).click();
    expect(await ground()).not.toBe(first);
    await w.page.reload();
    await settled(w.page);
    expect(await ground(), "the choice is remembered").not.toBe(first);
    expect(w.complaints).toEqual([]);
    await w.context.close();
  });

  test("a phone: nothing is wider than the screen, all pages work", async () => {
    const w = await watched(browser, c, {
      viewport: { width: 390, height: 844 },
      deviceScaleFactor: 2,
      isMobile: true,
      hasTouch: true,
    });
    await signIn(w, c);
    for (const page of ["map", "flows", "policy", "nodes", "tokens", "alarms", "audit"]) {
      await w.page.goto(`${c.url}/${page}`);
      await settled(w.page);
      expect(await w.page.evaluate(() => document.documentElement.scrollWidth), page).toBeLessThanOrEqual(390);
      await shoot(w.page, `phone-${page}`);
    }
    await w.page.goto(`${c.url}/map`);
    await settled(w.page);
    await w.page.locator(".group-head").first().tap();
    await w.page.waitForSelector(".drawer");
    await shoot(w.page, "phone-drawer");
    expect(w.complaints).toEqual([]);
    await w.context.close();
  });

  test("where motion is not welcome nothing moves", async () => {
    const w = await watched(browser, c, { reducedMotion: "reduce" });
    await signIn(w, c);
    await settled(w.page);
    const blank = () =>
      w.page.evaluate(() => {
        const canvas = document.querySelector<HTMLCanvasElement>("canvas.traffic")!;
        if (!canvas.width) return true;
        return !canvas
          .getContext("2d")!
          .getImageData(0, 0, canvas.width, canvas.height)
          .data.some((v) => v > 0);
      });
    expect(await blank()).toBe(true);
    await w.context.close();
  });
});

describe("sign-in", () => {
  test("a wrong key is refused with what to do; leaving ends the session", async () => {
    const w = await watched(browser, c);
    await w.page.goto(`${c.url}/map`);
    await w.page.getByLabel("or give an API key").fill("wrn_wrongwrong12_" + "x".repeat(43));
    await w.page.getByRole("button", { name: "Sign in" }).click();
    await w.page.waitForSelector(".fault");
    await shoot(w.page, "sign-in");
    w.complaints.length = 0;
    await signIn(w, c);
    await settled(w.page);
    // The key is nowhere that another script or a later person could find it.
    const kept = await w.page.evaluate(
      () => JSON.stringify({ ...localStorage, ...sessionStorage }) + document.cookie + location.href + history.state,
    );
    expect(kept).not.toContain(c.key);
    await w.page.getByRole("button", { name: /^Sign out/ }).click();
    await w.page.waitForSelector(".sign-in");
    expect((await w.page.request.get(`${c.url}/v1/status`)).status()).toBe(401);
    expect(w.complaints.filter((t) => !t.includes("401"))).toEqual([]);
    await w.context.close();
  });
});

describe.skipIf(isReal)("against the mock only", () => {
  test("a one-time link signs in and leaves no trace of its code", async () => {
    const m = await mock({ size: 10 });
    const w = await watched(browser, m);
    await w.page.goto(`${m.url}/flows?service=cache#link=mock-link`);
    await w.page.waitForSelector(".frame");
    expect(w.page.url()).toBe(`${m.url}/flows?service=cache`);
    await w.context.close();
    m.close();
  });

  test("hostile names are text, everywhere", async () => {
    const w = await watched(browser, c);
    await signIn(w, c);
    for (const path of ["/map", "/map?group=node", "/map?view=table", "/flows", "/nodes", "/audit", "/policy"]) {
      await w.page.goto(c.url + path);
      await settled(w.page);
      expect(
        await w.page.evaluate(
          () => document.querySelectorAll("img, iframe, object, embed, #app script, b:not(.badge)").length,
        ),
        path,
      ).toBe(0);
    }
    await w.page.goto(`${c.url}/nodes`);
    await settled(w.page);
    const text = (await w.page.textContent(".table"))!;
    expect(text).toContain("<img src=x onerror=");
    expect(text).toContain("invoice⟨U+202E⟩gnp.exe");
    expect(await w.page.title()).not.toContain("owned");
    await w.page.getByText("<img src=x").first().click();
    await w.page.waitForSelector(".drawer h2");
    await shoot(w.page, "hostile");
    expect(await w.page.title()).not.toContain("owned");
    expect(w.complaints).toEqual([]);
    await w.context.close();
  });

  test("news moves no box; what is new stands free, beside what it talks to", async () => {
    const m = await mock({ size: 10, late: [1e9, 1e9] });
    await m.control!("thaw");
    const w = await watched(browser, m);
    await signIn(w, m);
    await settled(w.page);
    const boxes = () =>
      w.page.evaluate(() =>
        Object.fromEntries(
          [...document.querySelectorAll<HTMLElement>(".group")].map((g) => [g.dataset.group!, g.style.transform]),
        ),
      );
    const before = await boxes();
    const edges = async () =>
      Number(await w.page.getAttribute('[data-field="map.edges[verdict=deny].length"]', "data-value"));
    const denied = await edges();
    await m.control!("news");
    await w.page.waitForFunction(
      (n) =>
        Number(document.querySelector('[data-field="map.edges[verdict=deny].length"]')?.getAttribute("data-value")) >=
        n + 2,
      denied,
      { timeout: 20_000 },
    );
    const after = await boxes();
    for (const key of Object.keys(before)) expect(after[key], key).toBe(before[key]);
    await shoot(w.page, "news");
    // The same after a reload, and after a resync.
    await w.page.reload();
    await settled(w.page);
    expect(await boxes()).toEqual(after);
    const asked = w.page.waitForRequest((r) => r.url().includes("/v1/map"));
    await m.control!("resync");
    await asked;
    await settled(w.page);
    expect(await boxes()).toEqual(after);
    expect(w.complaints).toEqual([]);
    await w.context.close();
    m.close();
    await c.control?.("freeze");
  });

  test("a coordinator that goes away: the page says since when, and mends itself", async () => {
    const m = await mock({ size: 10 });
    await m.control!("thaw");
    const w = await watched(browser, m);
    await signIn(w, m);
    await settled(w.page);
    const numbers = await w.page.textContent(".map-foot");
    await m.control!("down");
    await w.page.waitForSelector(".stale");
    expect(await w.page.textContent(".stale")).toMatch(/^not live since \d\d:\d\d:\d\d/);
    expect(numbers).toBeTruthy();
    expect(await w.page.locator(".group").count(), "what was known stays").toBeGreaterThan(3);
    await shoot(w.page, "stale");
    await m.control!("up");
    await w.page.waitForSelector(".stale", { state: "detached", timeout: 30_000 });
    await w.context.close();
    m.close();
    await c.control?.("freeze");
  }, 60_000);

  test("flows stream; holding says how many wait; a click on a cell filters; the address is permanent", async () => {
    const m = await mock({ size: 10 });
    await m.control!("thaw");
    const w = await watched(browser, m);
    await signIn(w, m);
    await w.page.goto(`${m.url}/flows`);
    await settled(w.page);
    await w.page.getByRole("button", { name: "Hold" }).click();
    const first = await w.page.getAttribute(".tr", "id");
    await w.page.getByRole("button", { name: /rows? waits?/ }).waitFor();
    await w.page.waitForFunction(
      () => /[1-9]\d* rows? waits?/.test(document.querySelector(".bar")!.textContent!),
      undefined,
      { timeout: 10_000 },
    );
    expect(first).toBeTruthy();
    await w.page.getByRole("button", { name: /rows? waits?/ }).click();
    await w.page.locator(".cell-filter", { hasText: "refused" }).first().click();
    await w.page.waitForURL("**/flows?verdict=deny");
    await settled(w.page);
    const words = await w.page.locator(".tr .verdict").allTextContents();
    expect(words.length).toBeGreaterThan(0);
    expect(new Set(words)).toEqual(new Set(["refused"]));
    const save = w.page.waitForEvent("download");
    await w.page.getByRole("button", { name: "JSON" }).click();
    const path = await (await save).path();
    const rows = JSON.parse(await import("node:fs/promises").then((fs) => fs.readFile(path, "utf8"))) as {
      verdict: string;
    }[];
    expect(rows.length).toBeGreaterThan(0);
    expect(rows.every((r) => r.verdict === "deny")).toBe(true);
    await w.page.locator(".tr time").first().click();
    await w.page.waitForSelector(".drawer");
    expect(w.complaints).toEqual([]);
    await w.context.close();
    m.close();
    await c.control?.("freeze");
  }, 60_000);

  test("a flow that is told while one looks says whose it is, at both ends", async () => {
    const m = await mock({ size: 10 });
    await m.control!("thaw");
    const w = await watched(browser, m);
    await signIn(w, m);
    await w.page.goto(`${m.url}/flows`);
    await settled(w.page);
    const rows = () => w.page.locator('.tr:has(.whose) [role="gridcell"] .whose').count();
    const newest = () => w.page.locator(".tr time").first().getAttribute("data-value");
    const before = await newest();
    await w.page.waitForFunction(
      (then) => Number(document.querySelector(".tr time")?.getAttribute("data-value")) > Number(then) + 1,
      before,
      { timeout: 20_000 },
    );
    // Each node told its own half; here they are together.
    await w.page.waitForFunction(
      (then) =>
        [...document.querySelectorAll(".tr")].some(
          (tr) =>
            tr.querySelectorAll(".whose").length === 2 &&
            Number(tr.querySelector("time")?.getAttribute("data-value")) > Number(then),
        ),
      before,
      { timeout: 20_000 },
    );
    expect(await rows()).toBeGreaterThan(0);
    await shoot(w.page, "flows-live");
    expect(w.complaints).toEqual([]);
    await w.context.close();
    m.close();
    await c.control?.("freeze");
  }, 60_000);

  test("a map that leaves edges out says how many, on the map and in the table", async () => {
    const m = await mock({ size: 10, limit: 20, late: [1e9, 1e9] });
    await c.control?.("freeze");
    const w = await watched(browser, m);
    await signIn(w, m);
    const { extent } = await api<FlowMap>(m, "/map");
    expect([extent.shown, extent.total > 40]).toEqual([20, true]);
    for (const path of ["/map", "/map?view=table"]) {
      await w.page.goto(m.url + path);
      await settled(w.page);
      expect(await w.page.textContent(".left-out")).toMatch(new RegExp(`^20 of ${extent.total} edges`));
      expect(await w.page.getAttribute(".left-out", "title")).toMatch(/refused.*map\.edges in settings\.json/);
      await agrees(w.page, m);
    }
    await shoot(w.page, "map-left-out");
    expect(w.complaints).toEqual([]);
    await w.context.close();
    m.close();
  });

  test("a page that cannot be loaded says why and offers to try again", async () => {
    const m = await mock({ size: 10 });
    const w = await watched(browser, m);
    await signIn(w, m);
    await settled(w.page);
    // The page itself is there; what it asks is refused.
    const broken = { type: "/problems/internal", title: "internal", status: 500, detail: "the disk is full" };
    const refuse = (paths: RegExp) =>
      w.page.route(paths, (route) =>
        route.fulfill({ status: 500, contentType: "application/problem+json", json: broken }),
      );
    for (const [page, asks] of [
      ["map", /\/v1\/map/],
      ["flows", /\/v1\/flows/],
      ["policy", /\/v1\/policy\/history/],
      ["nodes", /\/v1\/nodes/],
      ["tokens", /\/v1\/tokens/],
      ["alarms", /\/v1\/(status|events)/],
      ["audit", /\/v1\/audit/],
    ] as const) {
      await refuse(asks);
      await w.page.goto(`${m.url}/${page}`);
      await w.page.waitForSelector("main .fault");
      expect(await w.page.textContent("main .fault"), page).toContain("the disk is full");
      expect(await w.page.locator("main .loading").count(), `${page}: it does not wait for what will not come`).toBe(0);
      if (page === "nodes" || page === "flows") await shoot(w.page, `fault-${page}`);
      await w.page.unroute(asks);
      await w.page.locator("main .fault").first().getByRole("button", { name: "Try again" }).click();
      await w.page.waitForSelector("main .fault", { state: "detached" });
    }
    await w.context.close();
    m.close();
  }, 60_000);

  test("an empty network says what to run next", async () => {
    const m = await mock({ empty: true });
    const w = await watched(browser, m);
    await signIn(w, m);
    await w.page.waitForSelector(".first");
    expect(await w.page.textContent(".first")).toContain("warren token create");
    await shoot(w.page, "empty");
    // A page without rows is not blank: it says why, and where there is one, the next step.
    for (const [page, words] of [
      ["flows", /No flow yet.*warren-node ping/s],
      ["policy", /No policy was ever applied.*warren policy apply/s],
      ["nodes", /No node is enrolled.*warren token create/s],
      ["tokens", /No token was made yet.*warren token create/s],
      ["alarms", /No alarm.*enforce the present policy/s],
      ["audit", /network founded/s],
    ] as const) {
      await w.page.goto(`${m.url}/${page}`);
      await settled(w.page);
      expect(await w.page.textContent("main"), page).toMatch(words);
      await shoot(w.page, `empty-${page}`);
    }
    expect(w.complaints).toEqual([]);
    await w.context.close();
    m.close();
  });

  test.each([10, 100, 500])(
    "%i services are drawn, no box over another, and move smoothly",
    async (size) => {
      const m = await mock({ size });
      const w = await watched(browser, m, { reducedMotion: "reduce" });
      await signIn(w, m);
      await settled(w.page);
      await shoot(w.page, `map-${size}`);
      const over = await w.page.evaluate(() => {
        const boxes = [...document.querySelectorAll<HTMLElement>(".group")].map((g) => ({
          name: g.dataset.group!,
          r: g.getBoundingClientRect(),
        }));
        const meet = (a: DOMRect, b: DOMRect) =>
          a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
        const pairs = boxes.flatMap((a, i) => boxes.slice(i + 1).map((b) => [a, b] as const));
        return {
          boxes: boxes.length,
          over: pairs.filter(([a, b]) => meet(a.r, b.r)).map(([a, b]) => `${a.name} over ${b.name}`),
        };
      });
      // Labels are whole and large enough: what a closed box says is not cut, and no letter is smaller than nine pixels.
      const labels = await w.page.evaluate(() => {
        const scale = (e: Element) => e.getBoundingClientRect().height / (e as HTMLElement).offsetHeight;
        return [...document.querySelectorAll<HTMLElement>(".group-name, .group-count, .service-name")]
          .filter((e) => e.offsetHeight > 0)
          .map((e) => ({
            text: e.textContent ?? "",
            isCut: e.scrollWidth > e.clientWidth + 1,
            px: parseFloat(getComputedStyle(e).fontSize) * scale(e.closest(".group")!),
          }));
      });
      expect(labels.length).toBeGreaterThan(10);
      expect(labels.filter((l) => l.isCut).map((l) => l.text)).toEqual([]);
      expect(labels.filter((l) => l.px < 9).map((l) => `${l.text}: ${l.px}`)).toEqual([]);
      expect(over.boxes).toBeGreaterThan(5);
      expect(over.over).toEqual([]);
      const box = (await w.page.locator(".scene").boundingBox())!;
      await w.page.mouse.move(box.x + box.width / 2, box.y + box.height - 30);
      await w.page.evaluate(() => {
        const times: number[] = [];
        (window as unknown as { times: number[] }).times = times;
        let last = performance.now();
        const step = (now: number) => {
          times.push(now - last);
          last = now;
          requestAnimationFrame(step);
        };
        requestAnimationFrame(step);
      });
      for (let i = 0; i < 40; i++) await w.page.mouse.wheel(0, i % 2 ? -120 : 120);
      const times = await w.page.evaluate(() =>
        (window as unknown as { times: number[] }).times.slice(2).sort((a, b) => a - b),
      );
      const median = times[Math.floor(times.length / 2)]!;
      console.log(
        `${size} services: a frame takes ${median.toFixed(1)} ms (median of ${times.length}), at most ${times.at(-1)!.toFixed(0)} ms, drawn by the processor alone`,
      );
      expect(median).toBeLessThan(100);
      expect(w.complaints).toEqual([]);
      await w.context.close();
      m.close();
    },
    60_000,
  );
});
