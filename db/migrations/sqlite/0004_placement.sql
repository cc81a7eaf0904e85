ALTER TABLE agents ADD COLUMN labels text;
ALTER TABLE agents ADD COLUMN cordoned integer NOT NULL DEFAULT 0;
ALTER TABLE agents ADD COLUMN drain_deadline text;

ALTER TABLE sessions ADD COLUMN gpus integer NOT NULL DEFAULT 0;
-- What the session takes from its agent while it is live.
ALTER TABLE sessions ADD COLUMN reserved_cpu integer NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN reserved_memory integer NOT NULL DEFAULT 0;
-- What was asked for, for placing the session later or once more.
ALTER TABLE sessions ADD COLUMN placement text;
ALTER TABLE sessions ADD COLUMN priority integer NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN wait_until text;
ALTER TABLE sessions ADD COLUMN attempts integer NOT NULL DEFAULT 0;
UPDATE sessions SET
    reserved_cpu = CAST(CASE
        WHEN cpu LIKE '%m' THEN CAST(rtrim(cpu, 'm') AS real) + 0.999
        ELSE CAST(coalesce(cpu, '0') AS real) * 1000 + 0.999 END AS integer),
    reserved_memory = CAST(CAST(coalesce(memory, '0') AS real) * CASE
        WHEN memory LIKE '%Ki' THEN 1024 WHEN memory LIKE '%Mi' THEN 1048576 WHEN memory LIKE '%Gi' THEN 1073741824
        WHEN memory LIKE '%M' THEN 1000000 WHEN memory LIKE '%G' THEN 1000000000 ELSE 1 END + 0.999 AS integer)
    WHERE state NOT IN ('terminated', 'failed');
-- Sessions that wait for an agent.
CREATE INDEX sessions_waiting ON sessions (user_id, priority DESC, created_at, id) WHERE state = 'pending' AND agent_id IS NULL;

-- Why a session is where it is, or is nowhere.
CREATE TABLE placements (
    session_id text PRIMARY KEY,
    user_id    text NOT NULL,
    outcome    text NOT NULL CHECK (outcome IN ('placed', 'waiting', 'refused')),
    agent_id   text,
    verdicts   text NOT NULL,
    at         text NOT NULL
);
CREATE INDEX placements_by_age ON placements (at);
