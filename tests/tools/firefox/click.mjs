// Open the page in Firefox, click on a picture there, and print as JSON what is seen.
// Arguments: Firefox, the page's address, a picture's file, x and y of a pixel.

import process from "node:process";
import { setTimeout } from "node:timers/promises";
import puppeteer from "puppeteer-core";

const [program, address, picture, ...pixel] = process.argv.slice(2);
const browser = await puppeteer.launch({
  browser: "firefox", executablePath: program, args: ["--width=1200", "--height=900"],
  defaultViewport: null, // which is set by a command that Firefox 140 does not know
});
try {
  const page = await browser.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));

  // Puppeteer's own waiting makes functions of text, which the page's policy forbids.
  async function until(condition) {
    while (!(await page.evaluate(condition))) await setTimeout(50);
  }

  await page.goto(address);
  await until(() => "ready" in document.documentElement.dataset);
  await (await page.$("#files")).uploadFile(picture);
  await until(() => document.querySelector("#status").textContent.includes("Click on an object."));
  const place = await page.evaluate(async (x, y) => {
    const { stage } = await import("/page/main.js");
    const { left, top } = stage.element.getBoundingClientRect();
    const [stageX, stageY] = stage.view.toStage(x, y);
    return [left + stageX, top + stageY];
  }, ...pixel.map(Number));
  await page.mouse.click(...place);
  await until(() => document.querySelector("#objects .score:not(:empty)")?.textContent.match(/\d/));
  const seen = await page.evaluate(async (x, y) => {
    const { stage } = await import("/page/main.js");
    await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
    const [left, top] = stage.view.toStage(x, y).map((at) => Math.floor(at * devicePixelRatio));
    return [...stage.canvases.masks.getContext("2d").getImageData(left, top, 1, 1).data];
  }, ...pixel.map(Number));
  const status = await page.$eval("#status", ({ textContent }) => textContent);
  console.log(JSON.stringify({ version: await browser.version(), status, seen, errors }));
} finally {
  await browser.close();
}
