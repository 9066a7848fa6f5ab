// Ends a test run with one plain line, `N passed, N failed`, and with `, N skipped` when there are
// any. On a build server (CI=true) a skipped test fails the run: there, every probe must succeed.

/** @typedef {import("vitest/node").Reporter} Reporter */

/** @implements {Reporter} */
export default class CountReporter {
  /** @param {ReadonlyArray<import("vitest/node").TestModule>} modules */
  onTestRunEnd(modules) {
    const counts = { passed: 0, failed: 0, skipped: 0 };
    /** @type {string[]} */
    const skipped = [];
    for (const module of modules) {
      // A file that broke before its tests were collected is one failure.
      if (module.state() === "failed" && module.errors().length > 0) counts.failed++;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === "passed" || state === "failed") {
          counts[state]++;
        } else {
          counts.skipped++;
          skipped.push(`${module.relativeModuleId} > ${test.fullName}`);
        }
      }
    }

    const inCI = !["", "0", "false"].includes(process.env.CI ?? "");
    if (skipped.length > 0 && inCI) {
      console.error("\nTests may not be skipped on a build server:");
      for (const name of skipped) console.error(`  ${name}`);
      process.exitCode = 1;
    }

    const skippedPart = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
    console.log(`\n${counts.passed} passed, ${counts.failed} failed${skippedPart}`);
  }
}
