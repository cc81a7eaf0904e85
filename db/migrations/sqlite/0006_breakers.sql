-- Agents on which the session has failed to start.
ALTER TABLE sessions ADD COLUMN failures text;

-- Agents that have failed to start a template since they last started it.
CREATE TABLE breakers (
    agent_id  text NOT NULL,
    template  text NOT NULL,
    failures  integer NOT NULL,
    failed_at text NOT NULL,
    retry_at  text NOT NULL,
    PRIMARY KEY (agent_id, template)
);
