// Looks at each state of the console with axe-core, in a real browser: on phones and on a screen, light and dark. Prints what axe
// finds, and fails if it finds anything, or if a page is wider than its window.
//
// A state is a JSON object: its path, and optionally what is clicked there, and what is there when all of it is, as selectors.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import puppeteer from "puppeteer-core";

const [executablePath, profile, origin, ...states] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const views = [[320, "light"], [390, "dark"], [1440, "light"], [1440, "dark"]];

const browser = await puppeteer.launch({
  executablePath, userDataDir: profile, args: ["--no-sandbox", "--disable-gpu", "--disable-component-update"],
});
let looks = 0;
try {
  for (const state of states) {
    const { path, click, shows = "main h1" } = JSON.parse(state);
    const tab = await browser.newPage();
    await tab.goto(origin + path);
    if (click) await (await tab.waitForSelector(click)).click();
    await tab.waitForSelector(shows, { visible: true });
    await tab.waitForFunction(() => {
      const text = document.querySelector("main").innerText;
      return document.querySelector("main h1") && !text.includes("Loading") && !text.includes("…\n");
    });
    await tab.evaluate(axe);
    for (const [width, scheme] of views) {
      const at = `${state} at ${width} px, ${scheme}`;
      await tab.setViewport({ width, height: 900 });
      await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }, { name: "prefers-reduced-motion", value: "reduce" }]);
      const { violations } = await tab.evaluate(() => globalThis.axe.run(document));
      for (const { id, help, nodes } of violations) {
        process.exitCode = 1;
        console.error(`${at}: ${id}: ${help}`);
        for (const node of nodes.slice(0, 5)) console.error(`  ${node.html.slice(0, 200)}\n  ${node.failureSummary.replaceAll("\n", "\n  ")}`);
      }
      const over = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (over > 0) {
        process.exitCode = 1;
        console.error(`${at}: ${over} px wider than the window`);
      }
      looks++;
    }
    await tab.close();
  }
} finally {
  await browser.close();
}
console.log(`${looks} looks`);
