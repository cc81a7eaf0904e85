-- Until when a session that a drain has hibernated is to be woken on another
-- agent that has its home.
ALTER TABLE sessions ADD COLUMN move_until timestamptz;
CREATE INDEX sessions_moving ON sessions (move_until, id) WHERE move_until IS NOT NULL;
-- What the drain has done with sessions of the agent.
ALTER TABLE agents ADD COLUMN drain_moved bigint NOT NULL DEFAULT 0;
ALTER TABLE agents ADD COLUMN drain_hibernated bigint NOT NULL DEFAULT 0;
ALTER TABLE agents ADD COLUMN drain_stopped bigint NOT NULL DEFAULT 0;
