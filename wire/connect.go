package wire

import "time"

// Where an agent goes, below the control plane's base URL.
const (
	RegisterPath = "/api/v1/agents/register"
	ConnectPath  = "/api/v1/agents/connect"
	TunnelPath   = "/api/v1/agents/tunnel"
)

// ParamAgentID names the agent in the query of ConnectPath and TunnelPath;
// ParamTunnelID names the tunnel in that of TunnelPath.
const (
	ParamAgentID  = "agent_id"
	ParamTunnelID = "tunnel_id"
)

// HeaderAgentKey carries the agent's key on every request that an agent makes.
const HeaderAgentKey = "X-Agent-API-Key"

// HeaderProtocol carries the highest protocol version that the agent speaks on
// its connect request, and the agreed one on the answer. Without it the
// connection has the basic protocol: no frame marked "negotiated" is sent.
const HeaderProtocol = "X-StreamSpace-Protocol"

// ProtocolVersion is the highest version that this build speaks.
const ProtocolVersion = 1

// TunnelUpgrade is the Upgrade token of TunnelPath: after the 101 both
// directions are the session's bytes, with no framing.
const TunnelUpgrade = "streamspace-tunnel"

// The rhythm of a connection.
const (
	HeartbeatEvery = 10 * time.Second
	// StaleAfter is the silence after which an agent's connection is given up:
	// four heartbeats lost and a margin.
	StaleAfter = 45 * time.Second
	// PingEvery is how often the control plane says that it lives. An agent that
	// hears nothing for SilentPings of them looks for another replica, within
	// the 15 s in which commands are to be handed over.
	PingEvery   = 4 * time.Second
	SilentPings = 3
	// InventoryEvery is the rhythm of whole inventories.
	InventoryEvery = time.Minute
)
