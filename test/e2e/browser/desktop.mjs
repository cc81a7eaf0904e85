// A desktop from the first click to the last process.
import { ask, difference, keep, launch, live, picture, play, signIn, still, stop, until } from "./scenario.mjs";

await play(async (context) => {
  const page = await signIn(context);
  // What nothing here can run is out of the way, with why.
  const unable = page.getByTestId("unavailable-templates");
  if (await page.getByTestId("template-webtop-missing").isVisible()) throw new Error("what cannot be launched is in the way");
  await unable.locator("summary").click();
  await page.getByTestId("template-webtop-missing").getByText("no online agent is of platform docker or kubernetes").waitFor();
  await unable.locator("summary").click();
  const session = await launch(page, "desktop");
  await until("the desktop has pixels", async () => (await picture(page)).colours > 8);
  await still(page);
  await ask("note", session);

  // The terminal of the desktop takes the keyboard, and its commands are real.
  const before = await picture(page);
  await inTerminal(page);
  await type(page, "echo typed-in-$((40+2)) > proof.txt; echo $$ > shell.pid");
  const proof = (await ask("file", `${session} proof.txt`)).trim();
  if (proof !== "typed-in-42") throw new Error(`the file holds ${proof}`);
  const shell = await ask("file", `${session} shell.pid`);
  await until("typing shows", async () => (await picture(page)).sum !== before.sum);

  // Closing the page and coming back shows the same desktop.
  const kept = await keep(page);
  await page.reload();
  await live(page);
  await until("the same picture after a reload", async () => (await difference(page, kept)) < 0.03);
  await inTerminal(page);
  await type(page, "echo $$ > again.pid");
  const again = await ask("file", `${session} again.pid`);
  if (again !== shell) throw new Error(`another shell (${again.trim()}) than before (${shell.trim()})`);

  // The desktop takes the size of the window.
  await page.setViewportSize({ width: 1100, height: 700 });
  await until("the desktop follows the window", async () => {
    const { width, height } = await picture(page);
    return width === 1100 && height === 700;
  });
  await page.setViewportSize({ width: 1280, height: 800 });
  await until("the desktop follows the window back", async () => {
    const { width, height } = await picture(page);
    return width === 1280 && height === 800;
  });

  // The clipboard, both ways, with more than ASCII in it.
  await page.evaluate(() => navigator.clipboard.writeText("from the browser: äöü €"));
  await page.evaluate(() => window.dispatchEvent(new Event("focus")));
  await inTerminal(page);
  await until("the browser's clipboard reaches the desktop", async () => {
    await type(page, "xclip -selection clipboard -o > pasted.txt; mv pasted.txt clipboard.txt");
    return (await ask("file", `${session} clipboard.txt`)) === "from the browser: äöü €";
  });
  await type(page, "printf 'from the desktop: 42 \\342\\202\\254' | xclip -selection clipboard");
  await until("the desktop's clipboard reaches the browser", () =>
    page.evaluate(async () => (await navigator.clipboard.readText()) === "from the desktop: 42 €"),
  );

  // Somebody else watches the same desktop, and what one does the other sees.
  const second = await context.newPage();
  await second.goto(page.url());
  await live(second);
  const shared = await keep(page);
  await until("the second viewer sees the same", async () => (await difference(second, shared)) < 0.03);
  const seen = await picture(page);
  await second.bringToFront();
  await inTerminal(second);
  await type(second, "clear; seq 1 200; echo from-the-second > second.txt");
  await ask("file", `${session} second.txt`);
  await page.bringToFront();
  await until("the first viewer sees what the second typed", async () => (await picture(page)).sum !== seen.sum);
  await second.close();

  await stop(page);
  await ask("gone", session);
});

/** Gives the keyboard to the desktop's terminal. */
async function inTerminal(page) {
  const { width, height } = await picture(page);
  await page.mouse.click(Math.round(width * 0.3), Math.round(height * 0.3));
}

async function type(page, command) {
  await page.keyboard.type(command, { delay: 5 });
  await page.keyboard.press("Enter");
}
