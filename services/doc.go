// Package services decides: which agent takes a session, when a command is
// sent, what becomes of a session whose agent answers, fails or vanishes.
//
// What is decided is in pure functions (rank, plan, compare), each beside a
// thin actor that reads, calls it, and writes. The database is the truth: a
// command's row is written before it is sent, every queue here holds only
// hints, and whatever a lost hint missed, polling finds.
package services
