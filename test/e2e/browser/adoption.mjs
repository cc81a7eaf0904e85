// The program dies while somebody watches a desktop, and comes back.
import { ask, difference, keep, launch, live, picture, play, signIn, status, still, until } from "./scenario.mjs";

await play(async (context) => {
  const page = await signIn(context);
  const session = await launch(page, "desktop");
  await until("the desktop has pixels", async () => (await picture(page)).colours > 8);
  await still(page);
  const { width, height } = await picture(page);
  await page.mouse.click(Math.round(width * 0.3), Math.round(height * 0.3));
  await page.keyboard.type("echo $$ > shell.pid\n", { delay: 5 });
  const shell = await ask("file", `${session} shell.pid`);
  const kept = await keep(page);

  await ask("kill");
  await status(page, "reconnecting");
  await ask("restart");
  // The page finds its way back alone.
  await live(page);
  await until("the same picture", async () => (await difference(page, kept)) < 0.03);
  await page.mouse.click(Math.round(width * 0.3), Math.round(height * 0.3));
  await page.keyboard.type("echo $$ > again.pid\n", { delay: 5 });
  const again = await ask("file", `${session} again.pid`);
  if (again !== shell) throw new Error(`another shell (${again.trim()}) than before (${shell.trim()})`);
  await ask("adopted", session);
});
