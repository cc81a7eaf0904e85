// A desktop in a container, from the first click to the last container.
import { join } from "node:path";
import { ask, launch, live, picture, play, signIn, still, stop, until } from "./scenario.mjs";

await play(async (context) => {
  const page = await signIn(context);
  const session = await launch(page, "boxed");
  await until("the desktop has pixels", async () => (await picture(page)).colours > 4);
  await still(page);
  await page.screenshot({ path: join(process.env.ARTIFACTS, "container.png") });
  await inTerminal(page);
  await type(page, "echo typed-in-$((40+2)) > $HOME/proof.txt");
  const proof = await ask("file", "proof.txt");
  if (proof !== "typed-in-42") throw new Error(`the file holds ${proof}`);

  // It sleeps: no container is left, but its home.
  await page.goto(new URL("/", page.url()).href);
  const row = page.getByTestId(`session-row-${session}`);
  await row.getByTestId("hibernate-session").click();
  await until("it sleeps", async () => (await row.innerText()).includes("Asleep"));
  await ask("asleep");

  // Opening it wakes it, with the home as it was.
  await row.getByTestId("open-session").click();
  await live(page);
  await until("the desktop has pixels again", async () => (await picture(page)).colours > 4);
  await still(page);
  await inTerminal(page);
  await type(page, "cat $HOME/proof.txt $HOME/proof.txt > $HOME/twice.txt");
  const twice = await ask("file", "twice.txt");
  if (twice !== "typed-in-42\ntyped-in-42") throw new Error(`the home holds ${twice}`);

  await stop(page);
  await ask("gone");
});

/** Gives the keyboard to the desktop's terminal. */
async function inTerminal(page) {
  const { width, height } = await picture(page);
  await page.mouse.click(Math.round(width * 0.2), Math.round(height * 0.2));
}

async function type(page, command) {
  await page.keyboard.type(command, { delay: 5 });
  await page.keyboard.press("Enter");
}
