// The page of guests/tinybase in two browsers that share nothing.

import { deepEqual } from "node:assert/strict";
import { launch } from "./browser.mjs";
import { pause, run } from "./test.mjs";

await run(async (host) => {
  const browser = await launch();
  const pages = [await enter(browser, host), await enter(browser, host)];
  const [ada, bob] = pages;
  for (const page of pages) await seen(page, "#pets", /^fidodogRemove$/);

  await ada.fill("#name", "felix");
  await ada.fill("#species", "cat");
  await ada.press("#species", "Enter");
  for (const page of pages) await seen(page, "#pets", /^felixcatRemovefidodogRemove$/);

  await ada.click("#count");
  await seen(bob, "#counter", /^1$/);
  await bob.click("#count");
  await bob.click("#roll");
  for (const page of pages) await seen(page, "#counter", /^2$/);
  await seen(ada, "#random", /^\d+$/);
  const random = await bob.textContent("#random");
  await seen(ada, "#random", new RegExp(`^${random}$`));

  await pause("asleep");
  await bob.locator("tr", { hasText: "fido" }).locator("button").click();
  for (const page of pages) await seen(page, "#pets", /^felixcatRemove$/);

  const late = await enter(browser, host);
  await seen(late, "#counter", /^2$/);
  await seen(late, "#pets", /^felixcatRemove$/);
  const clients = await (await fetch(new URL("/Pets/lobby/clients", host))).json();
  deepEqual([clients.pathId, clients.clientIds.length, clients.visits], ["lobby", 3, 3]);

  for (const page of [...pages, late]) deepEqual([page.complaints, page.outside], [[], []]);
  await browser.close();
});

async function enter(browser, host) {
  const page = await (await browser.newContext()).newPage();
  Object.assign(page, { complaints: [], outside: [] });
  page.on("pageerror", (error) => page.complaints.push(error));
  page.on("request", (request) => {
    if (new URL(request.url()).host !== host.host) page.outside.push(request.url());
  });
  await page.goto(new URL("/Pets/lobby/", host).href);
  await seen(page, "#state", /^connected$/);
  return page;
}

async function seen(page, selector, wanted) {
  const end = Date.now() + 30_000;
  for (;;) {
    const text = (await page.locator(selector).textContent()).trim();
    if (wanted.test(text)) return;
    if (Date.now() > end) throw new Error(`${selector} shows ${text}; wanted ${wanted}`);
    await page.waitForTimeout(20);
  }
}
