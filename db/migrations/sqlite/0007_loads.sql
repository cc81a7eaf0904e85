-- What a placement counts, so that it reads neither the sessions that have ended
-- nor the rows of those that live.
DROP INDEX sessions_open;
CREATE INDEX sessions_open ON sessions (agent_id, state, reserved_cpu, reserved_memory, gpus) WHERE state NOT IN ('terminated', 'failed');
CREATE INDEX sessions_open_by_user ON sessions (user_id, agent_id, state) WHERE state NOT IN ('terminated', 'failed');
