// Package sim runs the whole command path on virtual time: replicas of the
// control plane, agents, and the database between them, all the product's own
// code, in one process and one testing/synctest bubble. Everything random comes
// from a seed: what users ask for, what breaks, and when. The histories that
// the database, the machines and the network keep are judged against the
// invariants that the design names. README.md tells how each is judged.
package sim
