// Package tunnel carries the bytes between a viewer and a session: browser,
// control plane, agent, session. Each stream has a connection of its own, which
// the agent dials when it is asked to, so that no stream and no command ever
// waits for another stream's reader; TCP's own flow control reaches from the
// viewer back to the session. Nothing here looks into the bytes.
//
// Broker and ServeViewer are the control plane's side, Dial and Join the
// agent's.
package tunnel
