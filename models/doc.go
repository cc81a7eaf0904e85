// Package models holds the nouns of StreamSpace and the rules that belong to
// them alone: which state may follow which, what a resource quantity means,
// which code names which error. It is a leaf: standard library only, no I/O,
// and everything in it is safe to use from many goroutines as long as values
// are not shared while being changed.
package models
