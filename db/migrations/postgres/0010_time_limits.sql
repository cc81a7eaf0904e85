-- How long a session may go unused and run at a stretch, such as 30m. What it runs
-- has both as well; here they are at hand when it begins to run.
ALTER TABLE sessions ADD COLUMN idle_timeout text;
ALTER TABLE sessions ADD COLUMN max_duration text;
-- When a running session reaches its limits.
ALTER TABLE sessions ADD COLUMN expires_at timestamptz;
ALTER TABLE sessions ADD COLUMN idle_at timestamptz;
CREATE INDEX sessions_by_expiry ON sessions (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX sessions_by_idleness ON sessions (idle_at) WHERE idle_at IS NOT NULL;
-- Whether the stream's viewer says when somebody uses it.
ALTER TABLE tickets ADD COLUMN reports_input boolean NOT NULL DEFAULT false;
