// Package deploy holds what StreamSpace is deployed with, and its tests. It is a
// module of its own, so that what they need, Helm among others, is no
// dependency of the program.
package deploy
