// How a script talks with the test that runs it: lines on standard output and input.

import { createInterface } from "node:readline";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Tells the test where the script is, and waits until it says to go on. */
export async function pause(where) {
  console.log(where);
  const { done } = await lines.next();
  if (done) throw new Error(`the test ended at: ${where}`);
}

/** Runs the script with the host's URL; ends the process with its result. */
export async function run(script) {
  try {
    await script(new URL(process.argv[2]));
    process.exit(0);
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
}
