// A terminal from the first click to the last process.
import { ask, launch, live, play, signIn, stop, until } from "./scenario.mjs";

await play(async (context) => {
  const page = await signIn(context);
  const session = await launch(page, "terminal");
  await until("a prompt", async () => /[$#] *$/.test((await text(page)).trimEnd() + " ") || (await text(page)).includes("$"));
  await ask("note", session);

  await page.getByTestId("terminal").click();
  await type(page, "echo typed-in-$((40+2)) > proof.txt; echo $$ > shell.pid; echo seen-$((6*7))");
  const proof = (await ask("file", `${session} proof.txt`)).trim();
  if (proof !== "typed-in-42") throw new Error(`the file holds ${proof}`);
  const shell = await ask("file", `${session} shell.pid`);
  await until("the output shows", async () => (await text(page)).includes("seen-42"));

  // Coming back shows what was there.
  await page.reload();
  await live(page);
  await until("the replay shows", async () => (await text(page)).includes("seen-42"));
  await page.getByTestId("terminal").click();
  await type(page, "echo $$ > again.pid");
  const again = await ask("file", `${session} again.pid`);
  if (again !== shell) throw new Error(`another shell (${again.trim()}) than before (${shell.trim()})`);

  // The terminal takes the size of the window.
  const wide = await columns(page, session, "wide.txt");
  await page.setViewportSize({ width: 700, height: 500 });
  await until("the terminal follows the window", async () => (await columns(page, session, "narrow.txt")) < wide);

  // Two viewers, one terminal.
  const second = await context.newPage();
  await second.goto(page.url());
  await live(second);
  await until("the second viewer has the replay", async () => (await text(second)).includes("again.pid"));
  await second.getByTestId("terminal").click();
  await type(second, "echo from-the-second-$((1+1))");
  await page.bringToFront();
  await until("the first viewer sees it", async () => (await text(page)).includes("from-the-second-2"));
  await second.close();

  await stop(page);
  await ask("gone", session);
});

async function text(page) {
  return page.evaluate(() => document.querySelector(".xterm-rows")?.innerText.replaceAll("\u00a0", " ") ?? "");
}

async function columns(page, session, file) {
  await type(page, `tput cols > ${file}.new; mv ${file}.new ${file}`);
  return Number(await ask("file", `${session} ${file}`));
}

async function type(page, command) {
  await page.keyboard.type(command);
  await page.keyboard.press("Enter");
}
