package docker

import (
	"testing"

	"github.com/moby/moby/api/types/jsonstream"
	"pgregory.net/rapid"
)

// What an engine says in whatever order leads to no nonsense.
func TestProgressOnlyGrows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := layers{named: map[string]*layer{}}
		last := 0
		for range rapid.IntRange(1, 60).Draw(t, "messages") {
			all.hear(jsonstream.Message{
				ID: rapid.SampledFrom([]string{"a", "b", "c", "latest"}).Draw(t, "layer"),
				Status: rapid.SampledFrom([]string{"Pulling fs layer", "Waiting", "Downloading", "Verifying Checksum", "Download complete", "Extracting",
					"Pull complete", "Already exists", "Retrying in 5 seconds", "Pulling from team/desk"}).Draw(t, "status"),
				Progress: &jsonstream.Progress{Current: rapid.Int64Range(-1, 1000).Draw(t, "current"), Total: rapid.Int64Range(-1, 500).Draw(t, "total")},
			})
			told := all.progress("desk")
			if told.Percent < last || told.Percent > 100 {
				t.Fatalf("%v comes after %d %%", told, last)
			}
			last = told.Percent
		}
	})
	all := layers{named: map[string]*layer{}}
	for _, message := range []jsonstream.Message{
		{ID: "1", Status: "Pulling from team/desk"}, {ID: "a", Status: "Pulling fs layer"}, {ID: "b", Status: "Pulling fs layer"},
		{ID: "c", Status: "Already exists"}, {ID: "a", Status: "Downloading", Progress: &jsonstream.Progress{Current: 10e6, Total: 20e6}},
	} {
		all.hear(message)
	}
	if got := all.progress("desk").String(); got != "pulling image desk (1 of 3 layers, 10.0 MB of 20.0 MB), 12 %" {
		t.Errorf("it is %q", got)
	}
	all.hear(jsonstream.Message{ID: "a", Status: "Pull complete"})
	if got := all.progress("desk").Percent; got != 50 {
		t.Errorf("with one of two layers done it is %d %%", got)
	}
}
