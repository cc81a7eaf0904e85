// A session sleeps and wakes: its programs end, its home stays.
import { join } from "node:path";
import { ask, launch, live, play, signIn, status, stop, until } from "./scenario.mjs";

await play(async (context) => {
  const page = await signIn(context);
  const session = await launch(page, "homely");
  await ask("note", session);
  await page.getByTestId("terminal").click();
  await type(page, "echo kept-$((40+2)) > kept.txt; cat kept.txt");
  await until("the file is there", async () => (await text(page)).includes("kept-42"));

  await page.goto(new URL("/", page.url()).href);
  const row = page.getByTestId(`session-row-${session}`);
  await row.getByTestId("hibernate-session").click();
  await until("it sleeps", async () => (await row.innerText()).includes("Asleep"));
  await page.screenshot({ path: join(process.env.ARTIFACTS, "asleep.png") });
  await ask("asleep", session);

  // Its history says who did what.
  await row.getByTestId("show-history").click();
  const history = page.getByTestId("session-history");
  await until("the history is there", async () => /Running → Going to sleep, by [a-z]/.test(await history.innerText()));
  await page.screenshot({ path: join(process.env.ARTIFACTS, "history.png") });
  await page.getByRole("button", { name: "Close" }).click();

  // Opening it wakes it.
  await row.getByTestId("open-session").click();
  await live(page);
  await page.getByTestId("terminal").click();
  await type(page, "cat kept.txt");
  await until("the home is as it was", async () => (await text(page)).includes("kept-42"));

  // One that falls asleep in front of its viewer is left to sleep until it is woken.
  await ask("hibernate", session);
  await status(page, "asleep");
  await page.screenshot({ path: join(process.env.ARTIFACTS, "asleep-viewer.png") });
  await page.getByTestId("wake-session").click();
  await live(page);
  await stop(page);
});

async function text(page) {
  return page.evaluate(() => document.querySelector(".xterm-rows")?.innerText.replaceAll("\u00a0", " ") ?? "");
}

async function type(page, command) {
  await page.keyboard.type(command);
  await page.keyboard.press("Enter");
}
