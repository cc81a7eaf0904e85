-- Agents on which the session has failed to start.
ALTER TABLE sessions ADD COLUMN failures jsonb;

-- Agents that have failed to start a template since they last started it.
CREATE TABLE breakers (
    agent_id  text NOT NULL,
    template  text NOT NULL,
    failures  bigint NOT NULL,
    failed_at timestamptz NOT NULL,
    retry_at  timestamptz NOT NULL,
    PRIMARY KEY (agent_id, template)
);
