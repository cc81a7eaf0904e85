package services

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCommandIDsAreInTheOrderOfTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		earlier := time.UnixMilli(rapid.Int64Range(0, 1<<45).Draw(t, "earlier"))
		later := earlier.Add(time.Duration(rapid.Int64Range(1, 1<<40).Draw(t, "milliseconds")) * time.Millisecond)
		first, second := newCommandID(earlier), newCommandID(later)
		if first >= second || len(first) != 20 || !plainID(first) || !validSessionID(first) {
			t.Fatalf("%q and %q", first, second)
		}
		if newCommandID(earlier) == first {
			t.Fatal("two commands of one millisecond have one id")
		}
	})
}
