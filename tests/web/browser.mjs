// Chromium for the tests: that of `CHROMIUM`, or the system's, or Playwright's own.

import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const SYSTEM = ["chromium", "chromium-browser", "google-chrome"].map((name) => `/usr/bin/${name}`);

export async function launch() {
  const executablePath = process.env.CHROMIUM ?? SYSTEM.find((path) => existsSync(path));
  try {
    // Containers run the tests as root, where Chromium has no sandbox.
    return await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  } catch (error) {
    throw new Error("no Chromium starts; install it (`apt-get install chromium`, or `npx " +
      "playwright-core install chromium`), or name it in CHROMIUM", { cause: error });
  }
}
