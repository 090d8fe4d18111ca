// The dashboard: every page, by keyboard where that is how it is used; nothing is loaded
// from elsewhere, nothing breaks its policy. Leaves screenshots in the folder named.

import { deepEqual, equal, ok } from "node:assert/strict";
import { launch } from "./browser.mjs";
import { run } from "./test.mjs";

const SHOTS = process.argv[3];

await run(async (url) => {
  const browser = await launch();
  for (const colorScheme of ["light", "dark"]) {
    const context = await browser.newContext({ colorScheme, viewport: { width: 1200, height: 800 } });
    await visit(await context.newPage(), url.href, colorScheme);
  }
  await browser.close();
});

async function visit(page, url, scheme) {
  const complaints = [];
  const asked = new Set();
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => { if (/policy/i.test(message.text())) complaints.push(message.text()); });
  page.on("request", (request) => asked.add(new URL(request.url()).origin));
  const shot = (name) => page.screenshot({ path: `${SHOTS}/${name}-${scheme}.png` });

  // Without a token there is a form, and a wrong one says so.
  await page.goto(new URL("/", url).href);
  await page.fill("#token", "dormouse_wrong");
  await page.press("#token", "Enter");
  await seen(page, "#problem", /no such token/);
  await shot("token");

  await page.goto("about:blank");
  await page.goto(url);
  await seen(page, "#facts", /Listens on/);
  equal(new URL(page.url()).hash, "#overview");
  await page.waitForFunction(() => document.querySelector("#chart-memory polyline"));
  await page.waitForFunction(() => document.querySelector("#rate").textContent !== "");
  await shot("overview");

  await page.focus("nav a[href='#objects']");
  await page.keyboard.press("Enter");
  await seen(page, "#found", "3 of 3");
  await page.fill("#prefix", "<b>");
  await page.press("#prefix", "Enter");
  await seen(page, "#found", "1 of 1");
  await page.click("text=Probe/<b>carl</b>");
  await seen(page, "#object pre", /CREATE TABLE messages/);
  equal(await page.locator("#list b").count(), 0);
  await shot("objects");

  await page.click("#object button");
  equal(await page.inputValue("#of"), "Probe/<b>carl</b>");
  await page.fill("#text", "SELECT id, text, 9007199254740993 AS big FROM messages");
  await page.press("#text", "Control+Enter");
  await seen(page, "#answer", /^3 rows/);
  const cells = await page.locator("#rows tbody td").allTextContents();
  deepEqual(cells, ["1", "<i>hi</i>", "9007199254740993", "2", "x'00ff'", "9007199254740993",
    "3", "NULL", "9007199254740993"]);
  await shot("sql");
  await page.fill("#of", "Probe/ann");
  await page.fill("#text", "DELETE FROM messages WHERE id > 0");
  await page.press("#text", "Control+Enter");
  await seen(page, "#problem", /this statement writes/);
  const rows = scheme === "light" ? 3 : 0;
  await page.check("#unlock");
  await page.press("#text", "Control+Enter");
  await seen(page, "#effect", new RegExp(`^This would write ${rows} rows`));
  await seen(page, "#plan", /messages/);
  await shot("rehearsal");
  await page.click("#cancel");
  await page.fill("#text", "SELECT count(*) FROM messages");
  await page.press("#text", "Control+Enter");
  await seen(page, "#rows tbody", String(rows));
  await page.fill("#text", "DELETE FROM messages WHERE id > 0");
  await page.press("#text", "Control+Enter");
  await page.click("#commit");
  await seen(page, "#answer", new RegExp(`${rows} written`));

  // Words of SQL, tables, and columns of the table that the statement names.
  await page.uncheck("#unlock");
  await page.fill("#text", "");
  await page.type("#text", "sel");
  await seen(page, "#complete [aria-selected=true]", "SELECT");
  await page.press("#text", "Tab");
  await page.type("#text", " * FROM me");
  await seen(page, "#complete [aria-selected=true]", "messages");
  await page.press("#text", "Enter");
  await page.type("#text", " WHERE te");
  await seen(page, "#complete [aria-selected=true]", "text");
  await shot("completion");
  await page.press("#text", "Tab");
  equal(await page.inputValue("#text"), "SELECT * FROM messages WHERE text");
  await page.press("#text", "Control+Space");
  await page.press("#text", "Escape");
  ok(!(await page.isVisible("#complete")));

  await travel(page, shot);

  await page.click("nav a[href='#versions']");
  await seen(page, "#deployments tbody", /command line/);
  await shot("versions");

  await page.click("nav a[href='#log']");
  await seen(page, "#records", /Probe\/ann: said by ann/);
  equal(await page.locator("#records b").count(), 0);
  await shot("log");
  await page.fill("#log-object", "bob");
  await page.press("#log-object", "Enter");
  await seen(page, "#records", /said by bob/);
  ok(!(await page.locator("#records").textContent()).includes("said by ann"));

  await page.click("#leave");
  ok(await page.isVisible("#token"));
  deepEqual([...asked].filter((origin) => origin !== new URL(url).origin && origin !== "null"), []);
  deepEqual(complaints, []);
}

// Back to the three messages that were deleted, and forth again.
async function travel(page, shot) {
  await page.click("nav a[href='#objects']");
  await page.fill("#prefix", "ann");
  await page.press("#prefix", "Enter");
  await page.click("text=Probe/ann");
  await seen(page, "#object h3", "Probe/ann");
  await page.click("#object button:text('History')");
  await seen(page, "#differs", "Nothing has changed since then.");
  ok(await page.isDisabled("#restore"));
  while (!(await page.textContent("#differs")).startsWith("Since then 3 rows")) {
    const before = await page.inputValue("#moment");
    ok(before !== "0", "no moment has the messages");
    await page.press("#moment", "ArrowLeft");
    await page.waitForSelector("#history[aria-busy=false]");
  }
  await seen(page, "#changes tbody tr", /id = 1/);
  await shot("history");
  await page.check("#unlock-restore");
  await page.click("#restore");
  await seen(page, "#restored", /^Restored to/);
  equal(await count(page), 3);
  await page.click("#undo");
  await seen(page, "#restored", /^Undone/);
  equal(await count(page), 0);
  ok(await page.isDisabled("#restore"));
}

async function count(page) {
  return page.evaluate(async () => {
    const answer = await fetch("/v1/apps/probe/objects/Probe/ann/sql", {
      method: "POST",
      headers: { authorization: `Bearer ${sessionStorage.getItem("token")}`, "content-type": "application/json" },
      body: JSON.stringify({ sql: "SELECT count(*) FROM messages" }),
    });
    return (await answer.json()).rows[0][0];
  });
}

async function seen(page, selector, wanted) {
  const fits = (text) => (wanted instanceof RegExp ? wanted.test(text) : text === wanted);
  const began = Date.now();
  for (;;) {
    const text = (await page.locator(selector).first().textContent({ timeout: 10_000 })).trim();
    if (fits(text)) return;
    if (Date.now() - began > 20_000) throw new Error(`${selector} shows ${text}; wanted ${wanted}`);
    await page.waitForTimeout(20);
  }
}
