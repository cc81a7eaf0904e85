-- Rights of one replica among those that share this database, each until it
-- expires. The epoch rises with every new holder, and fences what an earlier one
-- still wants to write. What is on hold, and since when, is its holder's word.
CREATE TABLE leases (
    name       text PRIMARY KEY,
    holder     text NOT NULL,
    epoch      bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    worked_at  timestamptz,
    hold       text NOT NULL DEFAULT '',
    hold_since timestamptz
);
