// Two people in a room of guests/chat, in two browsers that share nothing.

import { deepEqual, equal } from "node:assert/strict";
import { launch } from "./browser.mjs";
import { pause, run } from "./test.mjs";

await run(async (host) => {
  const browser = await launch();
  const [ada, bob] = await Promise.all(["ada", "bob"].map((name) => enter(browser, host, name)));
  await seen(ada, "#people", "ada, bob");

  await say(ada, "hello");
  await say(bob, "<b>hi</b> & welcome");
  const lines = ["ada" + "hello", "bob" + "<b>hi</b> & welcome"];
  for (const page of [ada, bob]) await shown(page, lines);

  await ada.reload();
  await shown(ada, lines);

  await bob.locator("#text").pressSequentially("hm");
  await seen(ada, "#typing", "bob typing…");
  equal((await bob.locator("#typing").textContent()).trim(), "");
  await pause("bob stops typing");
  await seen(ada, "#typing", "");

  await pause("the host restarts");
  // Into a connection that may be dead, or while there is none.
  await say(ada, "before");
  await pause("the host is back");
  await say(bob, "after");
  for (const page of [ada, bob]) {
    await seen(page, "#state", /^connected/);
    await shown(page, [...lines, "ada" + "before", "bob" + "after"], sorted);
  }
  await seen(bob, "#people", "ada, bob");
  for (const page of [ada, bob]) deepEqual(page.complaints, []);
  await browser.close();
});

async function enter(browser, host, name) {
  const page = await (await browser.newContext()).newPage();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(error));
  await page.goto(new URL(`/Room/lobby/?name=${name}`, host).href);
  await seen(page, "#state", `connected as ${name}`);
  return page;
}

async function say(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

/** Waits until an element shows a text. */
async function seen(page, selector, wanted) {
  const found = async () => (await page.locator(selector).textContent()).trim();
  const fits = (text) => (wanted instanceof RegExp ? wanted.test(text) : text === wanted);
  await until(page, found, fits, wanted);
}

/** Waits until the room's lines are just these. */
async function shown(page, wanted, order = (lines) => lines) {
  const found = () => page.locator("#lines li").allTextContents();
  const want = JSON.stringify(order(wanted));
  await until(page, found, (lines) => JSON.stringify(order(lines)) === want, want);
}

async function until(page, found, fits, wanted) {
  const began = Date.now();
  for (;;) {
    const text = await found();
    if (fits(text)) return;
    if (Date.now() - began > 30_000) throw new Error(`shown: ${text}; wanted: ${wanted}`);
    await page.waitForTimeout(20);
  }
}

function sorted(lines) {
  return [...lines].sort();
}
