/** What a terminal shows, and that it is as it was when the run has ended. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { CLI, runCli } from "./helpers/cli.js";
import { csvText, temporaryFolder, writeFiles } from "./helpers/data.js";
import { leftovers } from "./helpers/folders.js";

const temporary = temporaryFolder();
afterAll(temporary.remove);
writeFiles(temporary.path, { "points.csv": csvText() });
const data = ["--data", join(temporary.path, "points.csv"), "--label", "kind", "--hidden", "8"];
const CTRL_C = "\u0003";
const ESCAPE = "\u001b";

/** Runs the command line on a terminal of its own. */
function onTerminal(
  args: readonly string[],
  columns: number,
  onOutput: (text: string, write: (keys: string) => void) => void = () => undefined,
): Promise<{ code: number | null; text: string }> {
  const command = [process.execPath, CLI, ...args].join(" ");
  const script = ["-qefc", `stty cols ${columns}; exec ${command}`, "/dev/null"];
  return new Promise((resolve, reject) => {
    const child = spawn("script", script, { stdio: ["pipe", "pipe", "inherit"] });
    let text = "";
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      onOutput(text, (keys) => child.stdin.write(keys));
    });
    child.on("error", reject);
    child.on("close", (code) => {
      resolve({ code, text });
    });
  });
}

/** Each drawing of the bar: from the start of the line to where the rest is cleared. */
function drawings(text: string): string[] {
  return text
    .split(`${ESCAPE}[1G`)
    .map((part) => part.split(`${ESCAPE}[0K`))
    .flatMap(([drawing, ...rest]) => (rest.length > 0 && drawing !== "" ? [drawing!] : []));
}

/** Whole lines that stay, without what moves the cursor. */
function lines(text: string): string[] {
  // eslint-disable-next-line no-control-regex
  const plain = text.replace(/\u001b(\[[?\d]*[A-Za-z]|[78])/g, "\u0000");
  return plain.split("\r\n").map((line) => line.slice(line.lastIndexOf("\u0000") + 1));
}

/** The cursor is shown, and lines wrap. */
function expectRestored(text: string): void {
  for (const [on, off] of [
    ["[?25h", "[?25l"],
    ["[?7h", "[?7l"],
  ] as const) {
    expect(text).toContain(ESCAPE + off);
    expect(text.lastIndexOf(ESCAPE + on)).toBeGreaterThan(text.lastIndexOf(ESCAPE + off));
  }
}

const EPOCH =
  /^(\S+) +epoch +\d+\/\d+ {2}loss \d+\.\d{4} {2}accuracy \d+\.\d\d % {2}test \d+\.\d\d % {2}[\d,]+ samples\/s {2}\d+:\d\d left$/;

// sgd-nesterov+clip is the longest name of an optimizer.
const both = [...data, "--optimizer", "sgd,sgd-nesterov+clip", "--lr", "0.1", "--epochs", "8"];

test("80 columns show the whole bar, and a line of each epoch in the words of a pipe", async () => {
  const { code, text } = await onTerminal([...both, "--out", join(temporary.path, "bar")], 80);
  expect(code).toBe(0);
  expectRestored(text);
  const bars = drawings(text).filter((drawing) => drawing.includes(" loss "));
  expect(bars.length).toBeGreaterThan(10);
  for (const bar of bars) {
    expect(bar.length).toBeLessThanOrEqual(80);
    expect(bar).toMatch(
      /^\S+ \|[=-]{5,20}\| epoch \d+\/8 {2}loss \d+\.\d{4} {2}[\d,]+ samples\/s {2}\d+:\d\d left$/,
    );
  }
  const piped = await runCli([...both, "--out", join(temporary.path, "pipe")]);
  const epochs = lines(text).filter((line) => EPOCH.test(line));
  expect(epochs).toHaveLength(16);
  const withoutRates = (line: string): string => line.replace(/ [\d,]+ samples.*/, "");
  expect(epochs.map(withoutRates)).toEqual(
    piped.stdout
      .split("\n")
      .filter((line) => EPOCH.test(line))
      .map(withoutRates),
  );
});

test("a narrow terminal shows less, cut nowhere", async () => {
  const args = [...both, "--out", join(temporary.path, "narrow")];
  const { code, text } = await onTerminal(args, 55);
  expect(code).toBe(0);
  const bars = drawings(text).filter((drawing) => drawing.includes(" left"));
  expect(bars.length).toBeGreaterThan(10);
  for (const bar of bars) {
    expect(bar).toMatch(/^\S+ \|[=-]{5,20}\| epoch .* \d+:\d\d left$/);
    expect(bar.length).toBeLessThanOrEqual(55);
  }
});

test("Ctrl-C gives the terminal back, and says how to go on", async () => {
  const folder = join(temporary.path, "stopped");
  const args = [...data, "--optimizer", "sgd", "--lr", "0.1", "--epochs", "50000", "--out", folder];
  let isSent = false;
  const { code, text } = await onTerminal(args, 80, (shown, write) => {
    if (isSent || !/\| epoch \d+\/50000 {2}loss/.test(shown)) return;
    isSent = true;
    write(CTRL_C);
  });
  expect(code).toBe(130);
  expectRestored(text);
  expect(
    lines(text)
      .filter((line) => line !== "")
      .at(-1),
  ).toBe(`stopped by SIGINT; continue with: layerwise-train --resume ${folder}`);
  expect(leftovers(folder)).toEqual([]);
});
