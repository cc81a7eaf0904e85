-- Times that the session's agent no longer had it and it was begun again.
ALTER TABLE sessions ADD COLUMN losses text;
