-- Who may see a session's pages, until when: what a browser holds after it has
-- redeemed a ticket.
CREATE TABLE page_grants (
    hash       text PRIMARY KEY,
    session_id text NOT NULL,
    user_id    text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at text NOT NULL,
    expires_at text NOT NULL
);
CREATE INDEX page_grants_by_expiry ON page_grants (expires_at);
CREATE INDEX page_grants_by_user ON page_grants (user_id);
