package services

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestVanished(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	quiet := now.Add(-45 * time.Second)
	// agents are so many that were last heard of so long ago, one second apart.
	type agents struct {
		count int
		ago   time.Duration
	}
	for name, test := range map[string]struct {
		fleet []agents
		want  silence
	}{
		"nobody":                         {nil, silence{}},
		"all are there":                  {[]agents{{10, 0}}, silence{}},
		"all are gone":                   {[]agents{{10, time.Minute}}, silence{10, 10, now.Add(-time.Minute)}},
		"most are gone":                  {[]agents{{6, 20 * time.Minute}, {4, 0}}, silence{6, 10, now.Add(-20 * time.Minute)}},
		"half are gone":                  {[]agents{{5, 20 * time.Minute}, {5, 0}}, silence{}},
		"both of two":                    {[]agents{{2, 20 * time.Minute}}, silence{}},
		"the only one":                   {[]agents{{1, 20 * time.Minute}}, silence{}},
		"all of five":                    {[]agents{{5, 20 * time.Minute}}, silence{5, 5, now.Add(-20 * time.Minute)}},
		"one after another":              {[]agents{{3, 50 * time.Minute}, {3, 35 * time.Minute}, {3, 20 * time.Minute}, {4, 0}}, silence{}},
		"most, some of them before":      {[]agents{{3, 50 * time.Minute}, {7, 20 * time.Minute}, {3, 0}}, silence{7, 10, now.Add(-20 * time.Minute)}},
		"the larger of two such times":   {[]agents{{30, 50 * time.Minute}, {8, 20 * time.Minute}, {2, 0}}, silence{30, 40, now.Add(-50 * time.Minute)}},
		"those that were just heard of":  {[]agents{{10, 40 * time.Second}}, silence{}},
		"within five minutes each other": {[]agents{{3, 24 * time.Minute}, {3, 20 * time.Minute}, {4, 0}}, silence{6, 10, now.Add(-20 * time.Minute)}},
	} {
		var heard []time.Time
		for _, some := range test.fleet {
			for i := range some.count {
				heard = append(heard, now.Add(-some.ago-time.Duration(i)*time.Second))
			}
		}
		found, most := vanished(heard, quiet)
		if most != (test.want != silence{}) || found != test.want {
			t.Errorf("%s: %+v, %v", name, found, most)
		}
	}
}

// Who is there never counts as silent, and the order means nothing.
func TestVanishedKeepsItsPromises(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	quiet := now.Add(-45 * time.Second)
	rapid.Check(t, func(t *rapid.T) {
		var heard []time.Time
		silent := 0
		for _, ago := range rapid.SliceOfN(rapid.IntRange(0, 5000), 0, 30).Draw(t, "seconds ago") {
			at := now.Add(-time.Duration(ago) * time.Second)
			heard = append(heard, at)
			if at.Before(quiet) {
				silent++
			}
		}
		found, most := vanished(slices.Clone(heard), quiet)
		shuffled := rapid.Permutation(heard).Draw(t, "shuffled")
		if again, too := vanished(shuffled, quiet); again != found || too != most {
			t.Fatalf("%+v, %v and %+v, %v", found, most, again, too)
		}
		if found.silent > silent || found.of > len(heard) || found.silent > found.of {
			t.Fatalf("%+v of %d silent ones", found, silent)
		}
		if most && (found.silent*100 < found.of*vanishedPercent || found.of < vanishedOf || !found.since.Before(quiet)) {
			t.Fatalf("%+v", found)
		}
	})
}
