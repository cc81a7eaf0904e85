// A session goes on while somebody uses it, and sleeps once a page is only left open.
import { join } from "node:path";
import { launch, live, play, signIn, status, until } from "./scenario.mjs";

await play(async (context) => {
  const page = await signIn(context);
  await launch(page, "brief");
  await page.getByTestId("terminal").click();
  const ending = page.getByTestId("session-ending");
  for (const begun = Date.now(); Date.now() < begun + 75_000; ) {
    await page.keyboard.type("x");
    await page.waitForTimeout(5_000);
    await live(page);
  }
  if (await ending.isVisible()) throw new Error(`it is in use, and the page says: ${await ending.innerText()}`);

  await until("the page says so beforehand", async () => (await ending.innerText()) === "Goes to sleep in 1 min unless it is used", 60_000);
  await page.screenshot({ path: join(process.env.ARTIFACTS, "idle-soon.png") });
  await status(page, "asleep");
  await page.getByText("nobody used it for 1m").waitFor();
  await page.screenshot({ path: join(process.env.ARTIFACTS, "idle-asleep.png") });
});
