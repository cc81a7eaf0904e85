package models

import "time"

// The roles of a user.
const (
	RoleAdmin = "admin"
	RoleUser  = "user"
)

// User is somebody who owns sessions.
type User struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	CreatedAt time.Time `json:"createdAt"`
}

// The kinds of token.
const (
	// TokenAPI authenticates a program, as a bearer.
	TokenAPI = "api"
	// TokenConsole is the value of the console's cookie.
	TokenConsole = "console"
	// TokenLogin is a one-use login link.
	TokenLogin = "login"
	// TokenAgent is an agent's key.
	TokenAgent = "agent"
)

// Token is a secret's record. The secret itself is never stored: Hash is the
// hex SHA-256 of it. Secrets are 256 random bits, so a plain hash suffices.
type Token struct {
	Hash string `json:"-"`
	Kind string `json:"kind"`
	// UserID is whom the token stands for; empty for an agent's key.
	UserID string `json:"userId,omitempty"`
	// AgentID is the one agent that may use the key; empty for other kinds.
	AgentID   string     `json:"agentId,omitempty"`
	Label     string     `json:"label,omitempty"`
	CreatedAt time.Time  `json:"createdAt"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	UsedAt    *time.Time `json:"usedAt,omitempty"`
}

// Ticket is a one-use right to open one tunnel to one generation of one
// session. Like Token it stores only the hash of its secret.
type Ticket struct {
	Hash       string
	SessionID  string
	Generation int64
	UserID     string
	ExpiresAt  time.Time
	CreatedAt  time.Time
	// ReportsInput tells that the stream's viewer says when somebody uses the
	// session, so that its being there alone is no use.
	ReportsInput bool
}

// PageGrant is a browser's right to see the pages of one session, whatever its
// generation. Like Token it stores only the hash of its secret.
type PageGrant struct {
	Hash      string
	SessionID string
	UserID    string
	ExpiresAt time.Time
	CreatedAt time.Time
}
