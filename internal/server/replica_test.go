package server

import "testing"

func TestReplicasAreNamedAfterTheirDirectory(t *testing.T) {
	one := replicaName("/var/lib/one")
	if again := replicaName("/var/lib/one"); again != one {
		t.Errorf("it is called %s, and %s when it starts again", one, again)
	}
	if other := replicaName("/var/lib/two"); other == one {
		t.Errorf("two are called %s", one)
	}
}
