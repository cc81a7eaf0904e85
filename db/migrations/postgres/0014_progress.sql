-- How far the start of a session is, as its agent tells it, with the generation
-- that this is about.
ALTER TABLE sessions ADD COLUMN progress jsonb;
