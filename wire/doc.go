// Package wire is the protocol between the control plane and its agents: the
// frames of the command connection, their limits, and the upgrade that opens a
// tunnel. Encoding and decoding live here and nowhere else, so both sides
// agree by construction; golden frames in testdata pin them for agents that
// are not ours. docs/protocol.md describes it for people.
package wire
