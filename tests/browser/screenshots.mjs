// Three pictures of a demonstration for the documents, into the directory that is named: make screenshots.

import { join } from "node:path";

import { chromium } from "playwright-core";

import { Mirror, read } from "./server.mjs";

const PICTURES = [
  { name: "status", path: "/", colorScheme: "light" },
  { name: "campus", path: "/campus", colorScheme: "light" },
  { name: "campus-dark", path: "/campus", colorScheme: "dark" },
];

const [folder] = process.argv.slice(2);
const mirror = await Mirror.make();
try {
  const address = await mirror.serve();
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  for (const { name, path, colorScheme } of PICTURES) {
    const page = await browser.newPage({ colorScheme, viewport: { width: 1280, height: 900 } });
    await page.goto(await read(`${address}${path}`));
    await page.locator("main .chart").first().waitFor();
    await page.screenshot({ path: join(folder, `${name}.png`) });
    await page.close();
  }
  await browser.close();
} finally {
  await mirror.remove();
}
