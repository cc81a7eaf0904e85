import type { ComponentChildren, JSX } from "preact";
import type { Problem } from "../api/problem";
import { Icon } from "./icons";

/** Says what went wrong, with the code that documentation and support know it by. */
export function ProblemNote({ problem, children }: { problem: Problem; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="problem" role="alert" data-testid="problem">
      <Icon name="alert" />
      <div class="problem-text">
        <p>{problem.detail}</p>
        <code class="code">{problem.code}</code>
      </div>
      {children}
    </div>
  );
}
