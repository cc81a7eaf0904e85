// A session that is web pages, from the first click to the last process: its
// WebSocket, events, requests, forms and cookies, and what it can do to the console.
import { join } from "node:path";
import { ask, launch, live, play, signIn, stop, until } from "./scenario.mjs";

const own = process.env.WHERE === "own";

await play(async (context) => {
  const page = await signIn(context);
  const session = await launch(page, "pages");
  await ask("note", session);
  await works(page, session);
  await page.screenshot({ path: join(process.env.ARTIFACTS, `pages-${process.env.WHERE}.png`) });
  const address = new URL(frameOf(page).url());
  const console = new URL(page.url()).origin;
  if (own ? address.host === new URL(console).host : !address.pathname.startsWith(`/s/${session}/ssv_`)) throw new Error(`it is at ${address}`);
  if (address.search.includes("ticket")) throw new Error(`the ticket stays in ${address}`);

  // A form, whose answer leads back.
  await inside(page).getByLabel("Name").fill("Ada");
  await inside(page).getByRole("button", { name: "Greet" }).click();
  await works(page, session);
  if (own) {
    await shows(page, "greeted", "Ada");
    // The cookie is there after both ways to load it anew.
    await bar(page);
    await page.getByTestId("reload-pages").click();
    await until("another frame is there", async () => frameOf(page) !== undefined);
    await live(page);
    await shows(page, "greeted", "Ada");
  }
  await page.reload();
  await live(page);
  await works(page, session);
  if (own) await shows(page, "greeted", "Ada");

  // What a hostile page could try. It is signed in nowhere but in itself.
  const got = await frameOf(page).evaluate(async (console) => {
    const attempt = async (what) => {
      try {
        return await what();
      } catch (error) {
        return `refused: ${error.name}`;
      }
    };
    return {
      read: await attempt(async () => (await fetch(`${console}/api/v1/sessions`, { credentials: "include" })).status),
      write: await attempt(async () => (await fetch(`${console}/api/v1/login-links`, { method: "POST", credentials: "include" })).status),
      page: await attempt(async () => parent.document.title),
      cookie: await attempt(async () => document.cookie),
      storage: await attempt(async () => typeof localStorage.length),
      worker: await attempt(async () => String((await navigator.serviceWorker.register("sw.js")).scope)),
      top: await attempt(async () => {
        top.location = "about:blank";
        return "moved";
      }),
    };
  }, console);
  process.stdout.write(`${process.env.WHERE}: ${JSON.stringify(got)}\n`);
  for (const what of ["read", "write", "page", "top"]) {
    if (!String(got[what]).startsWith("refused")) throw new Error(`${what}: ${got[what]}`);
  }
  if (String(got.cookie).includes("streamspace")) throw new Error(`it has the cookie ${got.cookie}`);
  if (!own && (got.storage === "number" || !String(got.worker).startsWith("refused"))) throw new Error(`it is of an origin: ${JSON.stringify(got)}`);

  // It sleeps, and knows its guest when it is awake again.
  if (process.env.SLEEPS) {
    await shows(page, "guest", "Ada");
    await page.goto(new URL("/", page.url()).href);
    const row = page.getByTestId(`session-row-${session}`);
    await row.getByTestId("hibernate-session").click();
    await until("it sleeps", async () => (await row.innerText()).includes("Asleep"));
    await ask("asleep");
    await row.getByTestId("open-session").click();
    await live(page);
    await works(page, session);
    await shows(page, "guest", "Ada");
  }

  // In a tab of its own it works as well.
  await bar(page);
  const [tab] = await Promise.all([context.waitForEvent("page"), page.getByTestId("open-pages").click()]);
  await tab.locator("h1").waitFor();
  await until("the tab's WebSocket answers", async () => (await tab.locator("#echo").textContent()) === `${session}: hello`);
  if (own && (await tab.evaluate(() => typeof localStorage.length)) !== "number") throw new Error("the tab has no storage");
  if (!own && (await tab.evaluate(() => self.origin)) !== "null") throw new Error("the tab is of the console's origin");

  await page.bringToFront();
  await stop(page);
  await ask("gone", session);
  await until("the tab's page says that it is over", async () => {
    await tab.reload();
    return (await tab.locator("body").getAttribute("data-code")) === "session_not_running";
  });
  await tab.screenshot({ path: join(process.env.ARTIFACTS, `pages-${process.env.WHERE}-over.png`) });
});

function inside(page) {
  return page.frameLocator("iframe.pages");
}

function frameOf(page) {
  return page.frames().find((frame) => frame !== page.mainFrame());
}

async function shows(page, id, text) {
  await until(`${id} shows ${text}`, async () => (await inside(page).locator(`#${id}`).textContent()) === text);
}

// All that the page does by itself has come.
async function works(page, session) {
  await shows(page, "echo", `${session}: hello`);
  await shows(page, "events", "2");
  await until("the request is answered", async () => (await inside(page).locator("#fetched").textContent()).startsWith(`pages of ${session}`));
  await shows(page, "console", "out of reach");
}

// The bar comes down to a pointer at its handle.
async function bar(page) {
  const { width } = page.viewportSize();
  await page.mouse.move(width / 2, 300);
  await page.mouse.move(width / 2, 2);
  await page.waitForFunction(() => document.querySelector('[data-testid="toolbar"]').getBoundingClientRect().top >= 0);
}
