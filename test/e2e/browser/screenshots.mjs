// Makes the pictures of the README from the real program: bin/streamspace must
// have been built. Everything else is made and removed here.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { launch, live, picture, still, until } from "./scenario.mjs";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const images = join(root, "docs", "images");
mkdirSync(images, { recursive: true });
const dataDir = mkdtempSync(join(tmpdir(), "streamspace-pictures-"));
const program = spawn(join(root, "bin", "streamspace"), ["up", "--data-dir", dataDir, "--listen", "127.0.0.1:0"], {
  stdio: ["ignore", "pipe", "inherit"],
});
const exited = new Promise((resolve) => program.once("exit", resolve));

try {
  const login = await loginLink();
  const browser = await chromium.launch({
    executablePath: process.env.STREAMSPACE_CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "light" });
  context.setDefaultTimeout(30_000);
  const page = await context.newPage();
  await page.goto(login);
  const home = page.url();
  await page.getByTestId("template-terminal-launch").waitFor();

  await launch(page, "desktop");
  await until("the desktop has pixels", async () => (await picture(page)).colours > 8);
  await still(page);
  await page.mouse.click(384, 240);
  await page.keyboard.type("ls /usr/share | head -20\n", { delay: 5 });
  await still(page);
  // The bar leaves by itself.
  await page.mouse.move(900, 700);
  await page.waitForFunction(() => !document.querySelector('[data-testid="toolbar"]').classList.contains("shown"));
  await still(page);
  await page.mouse.move(640, 2);
  await page.waitForFunction(() => document.querySelector('[data-testid="toolbar"]').getBoundingClientRect().top >= 0);
  await page.screenshot({ path: join(images, "desktop.png"), animations: "disabled" });

  await page.goto(home);
  await launch(page, "terminal");
  await live(page);
  await page.goto(home);
  await page.locator('[data-testid="session-state"][data-state="running"]').nth(1).waitFor();
  await page.screenshot({ path: join(images, "console.png"), animations: "disabled" });

  for (const _ of await page.getByTestId("stop-session").all()) {
    await page.getByTestId("stop-session").first().click();
    await page.getByTestId("confirm-stop").click();
    await page.getByTestId("confirm-stop").waitFor({ state: "detached" });
  }
  await page.getByTestId("sessions").waitFor({ state: "detached" });
  await browser.close();
} finally {
  program.kill("SIGINT");
  await exited;
  rmSync(dataDir, { recursive: true, force: true });
}

async function loginLink() {
  for await (const line of createInterface({ input: program.stdout })) {
    if (line.includes("/login?token=")) return line.trim();
  }
  throw new Error("bin/streamspace ended before it was ready");
}
