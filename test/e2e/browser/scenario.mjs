// One scenario: a real browser, and the test that started it, which answers
// what a page cannot know.
import { createInterface } from "node:readline";
import { join } from "node:path";
import { chromium } from "playwright-core";

let answers;

/** Asks the test for a step, and gives its answer. */
export async function ask(step, argument = "") {
  answers ??= createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  process.stdout.write(`@${step} ${argument}\n`);
  const { value, done } = await answers.next();
  if (done) throw new Error(`the test went away at step ${step}`);
  const { answer, error } = JSON.parse(value);
  if (error) throw new Error(`${step} ${argument}: ${error}`);
  return answer;
}

/** Runs the scenario. When it fails, a picture of each page is kept. */
export async function play(run, options = {}) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-timer-throttling"],
  });
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    permissions: ["clipboard-read", "clipboard-write"],
    ...options,
  });
  context.setDefaultTimeout(30_000);
  const complaints = [];
  context.on("page", (page) => {
    page.on("pageerror", (error) => complaints.push(`page error: ${error.stack ?? error}`));
    page.on("console", (message) => {
      if (message.type() === "error") complaints.push(`console: ${message.text()} (${message.location().url})`);
    });
  });
  try {
    await run(context, complaints);
    // A page that fell over and got up again is a failure too.
    const errors = complaints.filter((text) => text.startsWith("page error") || /Content Security Policy/.test(text));
    if (errors.length > 0) throw new Error(errors.join("\n"));
  } catch (error) {
    process.exitCode = 1;
    console.error(error);
    console.error(complaints.join("\n"));
    for (const [index, page] of context.pages().entries()) {
      const path = join(process.env.ARTIFACTS, `${process.env.SCENARIO}-${index}.png`);
      await page.screenshot({ path }).catch(() => undefined);
      console.error(`${page.url().replace(/token=.*/, "token=…")} is in ${path}`);
    }
  } finally {
    await browser.close();
    process.stdin.destroy();
  }
}

/** Repeats probe until it gives something true; probe's own words explain a failure. */
export async function until(what, probe, within = 20_000) {
  const deadline = Date.now() + within;
  let last;
  for (;;) {
    try {
      last = await probe();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`${what}: not within ${within} ms; last seen: ${last}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Follows the login link to the gallery. */
export async function signIn(context) {
  const page = await context.newPage();
  await page.goto(process.env.LOGIN);
  await page.getByTestId("template-desktop-launch").waitFor();
  return page;
}

/** Launches a template with one click and gives the session's id. */
export async function launch(page, template) {
  await page.getByTestId(`template-${template}-launch`).click();
  await page.waitForURL(/\/sessions\/[a-z0-9-]+$/);
  await live(page);
  return new URL(page.url()).pathname.split("/").pop();
}

/** Waits until the page shows the session as it is now. */
export async function live(page) {
  await status(page, "live");
}

export async function status(page, kind) {
  await page.locator(`[data-testid="viewer-status"][data-status="${kind}"]`).waitFor({ state: "attached" });
}

/** Stops the session in its viewer. */
export async function stop(page) {
  // The bar comes down to a pointer at its handle, which the middle of the edge has.
  const { width } = page.viewportSize();
  await page.mouse.move(width / 2, 300);
  await page.mouse.move(width / 2, 2);
  await page.waitForFunction(() => document.querySelector('[data-testid="toolbar"]').getBoundingClientRect().top >= 0);
  await page.getByTestId("stop-session").click();
  await page.getByTestId("confirm-stop").click();
  await status(page, "ended");
}

/** Facts of the picture: its size, how many colours it has, and a sum of all its pixels. */
export async function picture(page) {
  return page.evaluate(() => {
    const canvas = [...document.querySelectorAll('[data-testid="viewer"] canvas')].at(-1);
    if (!canvas || canvas.width === 0) return { width: 0, height: 0, colours: 0, sum: 0 };
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const pixels = new Uint32Array(data.buffer);
    const colours = new Set();
    let sum = 0;
    for (const pixel of pixels) {
      if (colours.size < 1000) colours.add(pixel);
      sum = (Math.imul(sum, 31) + pixel) | 0;
    }
    return { width: canvas.width, height: canvas.height, colours: colours.size, sum };
  });
}

/** Waits until the picture has stopped changing: programs that are about to open windows have done so. */
export async function still(page) {
  let last;
  let same = 0;
  await until("the picture is still", async () => {
    const { sum } = await picture(page);
    same = sum === last ? same + 1 : 0;
    last = sum;
    return same >= 8;
  });
}

/** Keeps the picture in the page, to compare a later one with it. */
export async function keep(page) {
  const pixels = await page.evaluate(() => {
    const canvas = [...document.querySelectorAll('[data-testid="viewer"] canvas')].at(-1);
    return canvas.toDataURL("image/png");
  });
  return pixels;
}

/**
 * Which part of the picture differs from a kept one, from 0 to 1. Another size is
 * another picture. Screens are compressed with losses, differently for each
 * viewer, so only what a person would see counts: a colour that is off by an eighth.
 */
export async function difference(page, kept) {
  return page.evaluate(async (source) => {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = [...document.querySelectorAll('[data-testid="viewer"] canvas')].at(-1);
    if (!canvas || canvas.width !== image.width || canvas.height !== image.height) return 1;
    const other = new OffscreenCanvas(image.width, image.height).getContext("2d");
    other.drawImage(image, 0, 0);
    const a = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const b = other.getImageData(0, 0, image.width, image.height).data;
    let differing = 0;
    for (let i = 0; i < a.length; i += 4) {
      if ([0, 1, 2].some((channel) => Math.abs(a[i + channel] - b[i + channel]) > 32)) differing++;
    }
    return differing / (a.length / 4);
  }, kept);
}
