import type { JSX } from "preact";
import type { Agent } from "../api/types";
import type { Console } from "../store/console";
import { useStore } from "../store/store";
import { count, standing } from "../ui/format";
import { Icon } from "../ui/icons";

/** How many machines could run sessions at this moment; nothing for users who may not see agents. */
export function AgentsStrip({ model }: { model: Console }): JSX.Element | null {
  const agents = useStore(model.store, (state) => state.agents);
  if (!agents) return null;
  const online = agents.filter((agent) => agent.status === "online" && !agent.cordoned).length;
  return (
    <span class="agents" data-testid="agents-online" data-online={online} title={agents.map(describe).join("\n")}>
      <Icon name="agents" size={16} />
      <span class={`dot ${online > 0 ? "good" : "bad"}`} aria-hidden="true" />
      <span>
        {online === agents.length ? count(online, "agent") : `${online} of ${count(agents.length, "agent")}`}
        <span class="agents-word"> online</span>
      </span>
    </span>
  );
}

function describe(agent: Agent): string {
  const place = [agent.platform, agent.region, agent.homeStore && `homes in ${agent.homeStore}`].filter(Boolean).join(", ");
  return `${agent.id} (${place}): ${standing(agent, Date.now())}`;
}
