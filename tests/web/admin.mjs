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
  await page.fill("#text", "DELETE FROM messages");
  await page.press("#text", "Control+Enter");
  await seen(page, "#problem", /this statement writes/);
  await page.check("#unlock");
  await page.press("#text", "Control+Enter");
  await seen(page, "#answer", scheme === "light" ? /3 written/ : /0 written/);

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
