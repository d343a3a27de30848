// Every page of `cursus serve` in Chromium: inert under hostile names, without a violation of accessibility, the same without JavaScript,
// in both colour schemes, from 360 to 2,560 pixels, and with no request to anybody else. Screenshots are kept in SCREENSHOTS.

import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { chromium } from "playwright-core";

import { Mirror, read } from "./server.mjs";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const SCREENSHOTS = process.env.SCREENSHOTS;
const TOKEN = "a-token-of-the-browser-tests-which-is-long-enough";
const MOST_BYTES = 60_000;
/** Pages of panels, and those that name people or things. */
const PANELS = ["campus", "leaderboards", "logtime", "online", "upcoming"];
const NAMED = PANELS.filter((name) => name !== "logtime");

const HOSTILE = [
  `<script>window.hostile = "script"</script>`,
  `"><img src=x onerror="window.hostile='image'">`,
  `javascript:window.hostile='address'`,
  `</title></svg><svg onload="window.hostile='svg'">`,
  `\u202Eright to left\u202C {{7*7}} \${7*7} %3Cscript%3E`,
  `&lt;b&gt; ' ' -- ; DROP TABLE users`,
  "x".repeat(10_000),
];

/** A literal of SQL. */
const literal = (text) => `'${text.replaceAll("'", "''")}'`;

/** Puts hostile texts into every column of text of the mirror that can hold one, row by row. */
const HOSTILE_ROWS = `
DO $$
DECLARE
  texts text[] := ARRAY[${HOSTILE.map(literal).join(", ")}];
  cell record;
BEGIN
  FOR cell IN
    SELECT columns.table_name, columns.column_name
    FROM information_schema.columns
    JOIN information_schema.tables USING (table_schema, table_name)
    WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND data_type = 'text'
      -- What parts rows keeps its values: a page without rows shows nothing hostile.
      AND column_name NOT IN ('kind', 'status', 'time_zone')
  LOOP
    BEGIN
      EXECUTE format('UPDATE %1$I SET %2$I = $1[1 + (id::bigint %% array_length($1, 1))] WHERE %2$I IS NOT NULL AND id IN (SELECT id FROM %1$I LIMIT 2000)',
        cell.table_name, cell.column_name) USING texts;
    EXCEPTION WHEN undefined_column OR unique_violation OR check_violation OR program_limit_exceeded THEN
      NULL;
    END;
  END LOOP;
END $$`;

let mirror;
let browser;
let address;
let guarded;
const pages = new Map();

before(async () => {
  mirror = await Mirror.make();
  await mirror.change(HOSTILE_ROWS);
  // HOSTILE_ROWS skips open_sessions, which has no column `id`: it is derived from the changed sessions here.
  await mirror.change(await readFile(new URL("../../packs/locations/sql/open_sessions.sql", import.meta.url), "utf8"));
  address = await mirror.serve();
  guarded = await mirror.serve("--token-file", await mirror.token(TOKEN));
  const runs = await (await fetch(`${address}/api/runs.json`)).json();
  const run = (runs.runs ?? runs.document?.runs).find((run) => run.run_id).run_id;
  pages.set("status", `${address}/`);
  pages.set("runs", `${address}/runs`);
  pages.set("run", `${address}/runs/${run}`);
  pages.set("decisions", `${address}/decisions`);
  for (const name of PANELS) pages.set(name, `${address}/${name}`);
  pages.set("not-found", `${address}/${encodeURIComponent(HOSTILE[0])}`);
  pages.set("no-such-run", `${address}/runs/${encodeURIComponent(HOSTILE[1])}`);
  pages.set("login", `${guarded}/campus`);
  if (SCREENSHOTS) await mkdir(SCREENSHOTS, { recursive: true });
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // Chromium's own sandbox wants rights that root in a container lacks; and it is to look up nothing by itself.
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic", "--no-first-run"],
  });
});

after(async () => {
  await browser?.close();
  await mirror?.remove();
});

/** A tab that notes what must not happen. */
async function open(options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const faults = [];
  page.on("dialog", (dialog) => {
    faults.push(`a dialog: ${dialog.message()}`);
    return dialog.dismiss();
  });
  page.on("console", (message) => {
    // A page that is not there, or not yet, is no fault of the page that says so.
    if (message.type() === "error" && !/status of (401|404|503)/.test(message.text())) faults.push(message.text());
  });
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("request", (request) => {
    const { origin } = new URL(request.url());
    if (origin !== address && origin !== guarded) faults.push(`a request to ${origin}`);
  });
  return { context, page, faults };
}

const SCHEMES = ["light", "dark"];
const WIDTHS = [360, 1280, 2560];

describe("each page", () => {
  for (const colorScheme of SCHEMES) {
    for (const width of WIDTHS) {
      test(`is inert, accessible and fits ${width} pixels, ${colorScheme}`, async () => {
        const { context, page, faults } = await open({ colorScheme, viewport: { width, height: 900 } });
        await page.addInitScript({ path: AXE });
        for (const [name, url] of pages) {
          const answer = await page.goto(await read(url), { waitUntil: "load" });
          const { length } = await answer.body();
          assert.ok(length < MOST_BYTES, `${name} has ${length} bytes`);
          assert.equal(await page.evaluate(() => window.hostile), undefined, `${name}: a hostile name was run`);
          if (NAMED.includes(name)) assert.match(await page.locator("main").innerText(), /<script>/, "hostile names are shown");
          const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
          assert.ok(wide <= room, `${name} is ${wide} pixels wide in ${room}`);
          const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
          const found = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.target).join(", ").slice(0, 500)}`);
          assert.deepEqual(found, [], name);
          assert.deepEqual(faults, [], name);
          if (SCREENSHOTS) await page.screenshot({ path: join(SCREENSHOTS, `${name}-${width}-${colorScheme}.png`), fullPage: true });
        }
        await context.close();
      });
    }
  }

  test("shows the same without JavaScript", async () => {
    const [withScript, without] = [await open({}), await open({ javaScriptEnabled: false })];
    // Ages and free space change from one to the other.
    const shown = async (page) => (await page.locator("main").innerText()).replaceAll(/\d+([.,]\d+)?/g, "N").replaceAll(/N (s|min|h)\b( N (s|min)\b)?/g, "AGE");
    for (const [name, url] of pages) {
      await withScript.page.goto(await read(url));
      await without.page.goto(url);
      assert.equal(await shown(without.page), await shown(withScript.page), name);
    }
    assert.deepEqual(without.faults, []);
    await withScript.context.close();
    await without.context.close();
  });

  test("can be walked through by the keyboard", async () => {
    const { context, page } = await open({});
    for (const [name, url] of pages) {
      await page.goto(await read(url));
      const count = await page.locator("a[href], button, input:not([type=hidden]), summary").count();
      const reached = new Set();
      for (let press = 0; press < count + 20; press += 1) {
        await page.keyboard.press("Tab");
        const focus = await page.evaluate(() => {
          const at = document.activeElement;
          if (!at || at === document.body) return null;
          const { outlineStyle, outlineWidth } = getComputedStyle(at);
          const all = [...document.querySelectorAll("*")];
          return { at: all.indexOf(at), text: at.textContent.trim().slice(0, 40), isSeen: outlineStyle !== "none" && outlineWidth !== "0px" };
        });
        if (!focus) break;
        if (reached.size === 0 && name !== "login") assert.match(focus.text, /skip/i, `${name}: the first stop skips to the content`);
        assert.ok(focus.isSeen, `${name}: focus cannot be seen on "${focus.text}"`);
        reached.add(focus.at);
      }
      assert.ok(reached.size >= count, `${name}: ${reached.size} of ${count} places are reached`);
    }
    await context.close();
  });
});

describe("a page that is looked at", () => {
  test("appears by itself once it was read, also without JavaScript", async () => {
    const folder = join(mirror.project, "sql", "pages", "slow");
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, "10-slow.sql"), "-- title: Slow\n-- chart: figures\nSELECT 'slept' AS label, 7 AS value FROM pg_catalog.pg_sleep(3)\n");
    for (const javaScriptEnabled of [true, false]) {
      const slow = await mirror.serve();
      await read(`${slow}/`);
      const { context, page } = await open({ javaScriptEnabled });
      assert.equal((await page.goto(`${slow}/slow`)).status(), 503);
      assert.match(await page.locator("main").innerText(), /was not read yet/);
      await page.locator("main", { hasText: "slept" }).waitFor();
      await context.close();
    }
  });

  test("brings what has changed, and keeps what was opened", async () => {
    const { context, page, faults } = await open({});
    await page.clock.install();
    await page.goto(await read(`${address}/`));
    const details = page.locator("main details[id]").first();
    await details.locator("summary").click();
    await mirror.change(`INSERT INTO pipeline.prune_candidate (schema_name, run_id, resource, table_name, key, reason)
      VALUES ('public', '20261123T020000Z', 'users', 'users', '{"id": 1}', 'absent')`);
    // The server reads the database again when a page asks for it: the clock of the page is moved until it shows that.
    const held = page.locator("main", { hasText: /Held deletes\D*1/ });
    const end = Date.now() + 60_000;
    while ((await held.count()) === 0) {
      assert.ok(Date.now() < end, "the page never shows the held delete");
      const answer = page.waitForResponse(`${address}/`);
      await page.clock.fastForward(15_000);
      await answer;
    }
    assert.equal(await details.evaluate((part) => part.open), true);
    assert.deepEqual(faults, []);
    await context.close();
  });
});

describe("with a token", () => {
  test("nothing is shown before it, and everything after it", async () => {
    const { context, page, faults } = await open({});
    assert.equal((await page.goto(`${guarded}/campus`)).status(), 401);
    assert.equal(await page.locator("main .chart").count(), 0);
    await page.locator("input[type=password]").fill("another-token-which-is-long-enough-to-be-one");
    await page.keyboard.press("Enter");
    await page.locator("input[type=password]").waitFor();
    await page.locator("input[type=password]").fill(TOKEN);
    await page.keyboard.press("Enter");
    await page.locator("main .chart").first().waitFor();
    assert.equal(new URL(page.url()).pathname, "/campus");
    const [cookie] = await context.cookies();
    assert.ok(cookie.httpOnly && cookie.sameSite === "Strict" && !cookie.value.includes(TOKEN));
    await page.locator(".leave button").click();
    await page.locator("input[type=password]").waitFor();
    assert.equal((await page.goto(`${guarded}/`)).status(), 401);
    assert.deepEqual(faults, []);
    await context.close();
  });

  test("another site opens nothing with it", async () => {
    const { context, page } = await open({});
    await page.goto(`${guarded}/`);
    await page.locator("input[type=password]").fill(TOKEN);
    await page.keyboard.press("Enter");
    await page.locator("main .chart").first().waitFor();
    // `localhost` and 127.0.0.1 are two sites to a browser.
    const other = guarded.replace("127.0.0.1", "localhost");
    const elsewhere = await context.newPage();
    await elsewhere.goto(`${other}/healthz`);
    const read = await elsewhere.evaluate(async (url) => {
      try {
        return await (await fetch(url, { credentials: "include" })).text();
      } catch {
        return null;
      }
    }, `${guarded}/api/campus.json`);
    assert.equal(read, null);
    await context.close();
  });
});
