ALTER TABLE agents ADD COLUMN labels jsonb;
ALTER TABLE agents ADD COLUMN cordoned boolean NOT NULL DEFAULT false;
ALTER TABLE agents ADD COLUMN drain_deadline timestamptz;

ALTER TABLE sessions ADD COLUMN gpus bigint NOT NULL DEFAULT 0;
-- What the session takes from its agent while it is live.
ALTER TABLE sessions ADD COLUMN reserved_cpu bigint NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN reserved_memory bigint NOT NULL DEFAULT 0;
-- What was asked for, for placing the session later or once more.
ALTER TABLE sessions ADD COLUMN placement jsonb;
ALTER TABLE sessions ADD COLUMN priority bigint NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN wait_until timestamptz;
ALTER TABLE sessions ADD COLUMN attempts bigint NOT NULL DEFAULT 0;
UPDATE sessions SET
    reserved_cpu = CASE
        WHEN cpu ~ '^[0-9.]+m$' THEN ceil(trim(trailing 'm' from cpu)::numeric)
        WHEN cpu ~ '^[0-9.]+$' THEN ceil(cpu::numeric * 1000) ELSE 0 END,
    reserved_memory = CASE
        WHEN memory ~ '^[0-9.]+Ki$' THEN ceil(trim(trailing 'Ki' from memory)::numeric * 1024)
        WHEN memory ~ '^[0-9.]+Mi$' THEN ceil(trim(trailing 'Mi' from memory)::numeric * 1048576)
        WHEN memory ~ '^[0-9.]+Gi$' THEN ceil(trim(trailing 'Gi' from memory)::numeric * 1073741824)
        WHEN memory ~ '^[0-9.]+M$' THEN ceil(trim(trailing 'M' from memory)::numeric * 1000000)
        WHEN memory ~ '^[0-9.]+G$' THEN ceil(trim(trailing 'G' from memory)::numeric * 1000000000)
        WHEN memory ~ '^[0-9.]+$' THEN ceil(memory::numeric) ELSE 0 END
    WHERE state NOT IN ('terminated', 'failed');
-- Sessions that wait for an agent.
CREATE INDEX sessions_waiting ON sessions (user_id, priority DESC, created_at, id) WHERE state = 'pending' AND agent_id IS NULL;

-- Why a session is where it is, or is nowhere.
CREATE TABLE placements (
    session_id text PRIMARY KEY,
    user_id    text NOT NULL,
    outcome    text NOT NULL CHECK (outcome IN ('placed', 'waiting', 'refused')),
    agent_id   text,
    verdicts   jsonb NOT NULL,
    at         timestamptz NOT NULL
);
CREATE INDEX placements_by_age ON placements (at);
