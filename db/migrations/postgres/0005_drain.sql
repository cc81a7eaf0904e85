-- Whether the agent's newest connection lasts, which the status of a draining
-- agent does not tell. One that was draining before is known again when it
-- next connects.
ALTER TABLE agents ADD COLUMN connected boolean NOT NULL DEFAULT false;
UPDATE agents SET connected = true WHERE status = 'online';
-- Who asked for the drain; NULL when it is the agent's own word.
ALTER TABLE agents ADD COLUMN drained_by text;
CREATE INDEX agents_by_drain_deadline ON agents (drain_deadline) WHERE drain_deadline IS NOT NULL;
