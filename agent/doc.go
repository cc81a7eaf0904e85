// Package agent runs sessions on its own machine, or wherever its driver
// reaches, for a control plane that it dials out to.
//
// It keeps one command connection open and journals what it is told before it
// does it, so that neither a crash nor a repeated command makes an effect
// happen twice. Sessions live longer than the connection, and longer than the
// agent.
package agent
