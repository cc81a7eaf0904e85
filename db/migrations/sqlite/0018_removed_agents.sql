-- The epoch of the last connection of an agent that was removed: if it is enrolled
-- anew, its epochs go on from there, and no older connection is taken for a new one.
CREATE TABLE removed_agents (
    agent_id text PRIMARY KEY,
    epoch    integer NOT NULL
);
