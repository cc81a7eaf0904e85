-- What may still run on an agent of sessions that were ended, or begun elsewhere,
-- without its word. An agent that tells what it runs needs no row; others are told
-- to stop these when they return.
CREATE TABLE leftovers (
    agent_id   text NOT NULL,
    session_id text NOT NULL,
    generation bigint NOT NULL,
    made_at    timestamptz NOT NULL,
    PRIMARY KEY (agent_id, session_id)
);
