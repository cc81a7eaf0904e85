package docker_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/moby/moby/client"
)

func TestTheEnginesImagesAreToldWhenTheyChange(t *testing.T) {
	e := need(t)
	sessions, _ := e.puller(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	lists, err := sessions.Images(ctx)
	if err != nil {
		t.Fatal(err)
	}
	await := func(what string, holds func(names []string) bool) {
		t.Helper()
		tooLate := time.After(30 * time.Second)
		for last := []string(nil); ; {
			select {
			case last = <-lists:
				if holds(last) {
					return
				}
			case <-tooLate:
				t.Fatalf("%s is not so in %v", what, last)
			}
		}
	}
	await("what is there at first", func(names []string) bool {
		return slices.Contains(names, shellImage) && slices.Contains(names, screenImage) && slices.IsSorted(names)
	})
	if _, err := e.client.ImageTag(t.Context(), client.ImageTagOptions{Source: shellImage, Target: "docker.io/library/news:latest"}); err != nil {
		t.Fatal(err)
	}
	await("a new one", func(names []string) bool { return slices.Contains(names, "news") })
	e.forget(t, "news")
	await("a removal", func(names []string) bool {
		return !slices.Contains(names, "news") && slices.Contains(names, shellImage)
	})
	cancel()
	for range lists {
		// It ends with its context.
	}
}
