import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { Mark } from "../ui/icons";
import { ThemeToggle } from "../ui/ThemeToggle";

export function SignedOut(): JSX.Element {
  useEffect(() => {
    document.title = "Sign in · StreamSpace";
  }, []);
  return (
    <main class="plain-page" data-testid="signed-out">
      <div class="card plain-card">
        <Mark />
        <h1>You are not signed in</h1>
        <p>This console opens with a link that works once. To get one, run this on the machine where StreamSpace runs:</p>
        <pre>
          <code>streamspace session open</code>
        </pre>
        <p>
          Or restart <code>streamspace up</code>: its last line is such a link. Sessions keep running meanwhile.
        </p>
        <div class="dialog-actions">
          <ThemeToggle />
          <button type="button" class="button primary" onClick={() => window.location.reload()}>
            I have signed in
          </button>
        </div>
      </div>
    </main>
  );
}
