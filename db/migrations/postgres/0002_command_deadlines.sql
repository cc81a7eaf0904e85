CREATE INDEX agent_commands_deadline ON agent_commands (deadline_at, seq) WHERE status NOT IN ('completed', 'failed');
-- Rows are written once or twice and then rest: what the writes leave behind is cleaned often and in small pieces.
ALTER TABLE agent_commands SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
