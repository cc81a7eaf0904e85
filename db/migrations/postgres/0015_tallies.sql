-- A number drawn at random by whoever reserves more of the agent. While it stays,
-- what is reserved of the agent can only have become less.
ALTER TABLE agents ADD COLUMN tally bigint NOT NULL DEFAULT 0;
