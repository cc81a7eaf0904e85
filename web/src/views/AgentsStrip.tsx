import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Console } from "../store/console";
import { useStore } from "../store/store";
import { AgentsDialog, describe } from "../ui/AgentsDialog";
import { count } from "../ui/format";
import { Icon } from "../ui/icons";

/** How many machines could run sessions at this moment; nothing for users who may not see agents. */
export function AgentsStrip({ model }: { model: Console }): JSX.Element | null {
  const agents = useStore(model.store, (state) => state.agents);
  const user = useStore(model.store, (state) => state.user);
  const [open, setOpen] = useState(false);
  if (!agents) return null;
  const online = agents.filter((agent) => agent.status === "online" && !agent.cordoned).length;
  return (
    <>
      <button
        type="button"
        class="agents"
        data-testid="agents-online"
        data-online={online}
        title={agents.map((agent) => `${agent.id} (${describe(agent)})`).join("\n")}
        onClick={() => setOpen(true)}
      >
        <Icon name="agents" size={16} />
        <span class={`dot ${online > 0 ? "good" : "bad"}`} aria-hidden="true" />
        <span>
          {online === agents.length ? count(online, "agent") : `${online} of ${count(agents.length, "agent")}`}
          <span class="agents-word"> online</span>
        </span>
      </button>
      {open && <AgentsDialog agents={agents} remove={user?.role === "admin" ? (id) => model.removeAgent(id) : undefined} onDone={() => setOpen(false)} />}
    </>
  );
}
