CREATE INDEX agent_commands_deadline ON agent_commands (deadline_at, seq) WHERE status NOT IN ('completed', 'failed');
