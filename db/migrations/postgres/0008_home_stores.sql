-- The storage that the agent shares its persistent homes on, if it does.
ALTER TABLE agents ADD COLUMN home_store text NOT NULL DEFAULT '';
