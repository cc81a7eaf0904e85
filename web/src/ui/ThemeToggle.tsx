import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Icon } from "./icons";
import { chooseTheme, currentTheme, nextTheme, type Theme } from "./theme";

const icons = { auto: "auto", light: "sun", dark: "moon" } as const;
const words: Record<Theme, string> = { auto: "as the system", light: "light", dark: "dark" };

export function ThemeToggle(): JSX.Element {
  const [theme, setTheme] = useState(currentTheme());
  const next = nextTheme(theme);
  return (
    <button
      type="button"
      class="icon-button"
      data-testid="theme-toggle"
      aria-label={`Colours: ${words[theme]}. Change to ${words[next]}.`}
      title={`Colours: ${words[theme]}`}
      onClick={() => {
        chooseTheme(next);
        setTheme(next);
      }}
    >
      <Icon name={icons[theme]} />
    </button>
  );
}
