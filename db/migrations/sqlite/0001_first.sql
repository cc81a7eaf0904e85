CREATE TABLE users (
    id         text PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    role       text NOT NULL CHECK (role IN ('admin', 'user')),
    created_at text NOT NULL
);

CREATE TABLE api_tokens (
    hash       text PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('api', 'console', 'login', 'agent')),
    user_id    text REFERENCES users (id) ON DELETE CASCADE,
    agent_id   text,
    label      text NOT NULL DEFAULT '',
    created_at text NOT NULL,
    expires_at text,
    used_at    text
);
CREATE INDEX api_tokens_label ON api_tokens (kind, label);

CREATE TABLE agents (
    id             text PRIMARY KEY,
    cluster_id     text NOT NULL DEFAULT '',
    cluster_name   text NOT NULL DEFAULT '',
    platform       text NOT NULL,
    region         text NOT NULL DEFAULT '',
    status         text NOT NULL CHECK (status IN ('online', 'offline', 'draining')),
    capacity       text,
    metadata       text,
    facilities     text,
    epoch          integer NOT NULL DEFAULT 0,
    last_heartbeat text,
    created_at     text NOT NULL,
    updated_at     text NOT NULL
);

CREATE TABLE templates (
    name       text PRIMARY KEY,
    manifest   text NOT NULL,
    updated_at text NOT NULL
);

CREATE TABLE sessions (
    id            text PRIMARY KEY,
    name          text NOT NULL DEFAULT '',
    user_id       text NOT NULL REFERENCES users (id),
    template      text NOT NULL,
    protocol      text NOT NULL DEFAULT '',
    state         text NOT NULL CHECK (state IN ('pending', 'running', 'hibernating', 'hibernated', 'waking',
                                                 'terminating', 'terminated', 'failed')),
    desired_state text NOT NULL CHECK (desired_state IN ('running', 'hibernated', 'terminated')),
    generation    integer NOT NULL,
    reason        text,
    reason_code   text,
    retryable     boolean NOT NULL DEFAULT false,
    agent_id      text,
    cluster_id    text,
    platform      text,
    region        text,
    cpu           text,
    memory        text,
    spec          text NOT NULL,
    request_hash  text NOT NULL DEFAULT '',
    created_at    text NOT NULL,
    updated_at    text NOT NULL,
    state_since   text NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id, created_at DESC, id DESC);
CREATE INDEX sessions_by_age ON sessions (created_at DESC, id DESC);
CREATE INDEX sessions_open ON sessions (agent_id, state) WHERE state NOT IN ('terminated', 'failed');
CREATE INDEX sessions_by_state ON sessions (state, state_since);

CREATE TABLE agent_commands (
    seq             integer PRIMARY KEY AUTOINCREMENT,
    command_id      text NOT NULL UNIQUE,
    agent_id        text NOT NULL,
    session_id      text,
    generation      integer NOT NULL DEFAULT 0,
    action          text NOT NULL,
    payload         text,
    status          text NOT NULL CHECK (status IN ('pending', 'sent', 'ack', 'completed', 'failed')),
    attempts        integer NOT NULL DEFAULT 0,
    sent_epoch      integer NOT NULL DEFAULT 0,
    result          text,
    error_message   text,
    created_at      text NOT NULL,
    deadline_at     text,
    sent_at         text,
    acknowledged_at text,
    completed_at    text
);
CREATE INDEX agent_commands_open ON agent_commands (agent_id, seq) WHERE status NOT IN ('completed', 'failed');
CREATE INDEX agent_commands_by_session ON agent_commands (session_id, seq);

CREATE TABLE tickets (
    hash       text PRIMARY KEY,
    session_id text NOT NULL,
    generation integer NOT NULL,
    user_id    text NOT NULL,
    created_at text NOT NULL,
    expires_at text NOT NULL,
    used_at    text
);
CREATE INDEX tickets_by_expiry ON tickets (expires_at);

CREATE TABLE events (
    id          integer PRIMARY KEY AUTOINCREMENT,
    kind        text NOT NULL,
    session_id  text,
    agent_id    text,
    from_state  text,
    to_state    text,
    actor       text NOT NULL,
    reason      text,
    reason_code text,
    generation  integer NOT NULL DEFAULT 0,
    at          text NOT NULL
);
CREATE INDEX events_by_session ON events (session_id, id);
