// An agent goes away, its session is shown as unreachable, and an admin says that
// it is gone for good.
import { join } from "node:path";
import { ask, launch, live, play, signIn, until } from "./scenario.mjs";

await play(async (context) => {
  const page = await signIn(context);
  const session = await launch(page, "terminal");
  await live(page);
  await page.goto(new URL("/", page.url()).href);
  const row = page.getByTestId(`session-row-${session}`);
  await row.getByText("Running").waitFor();
  await ask("away", session);
  await until("it is unreachable", async () => /Agent edge has not been heard of since .*; the session keeps running there\./.test(await row.innerText()));
  await page.screenshot({ path: join(process.env.ARTIFACTS, "unreachable.png") });

  await page.reload(); // agents are read now and then
  await page.getByTestId("agents-online").click();
  await page.getByTestId("remove-agent-edge").click();
  await page.screenshot({ path: join(process.env.ARTIFACTS, "remove-agent.png") });
  await page.getByTestId("confirm-remove").click();
  await until("it has failed", async () => (await row.innerText()).includes("was removed by admin. Launch it again"));
  await ask("removed", session);
});
