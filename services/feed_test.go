package services

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
)

func TestFeedTellsEachSubscriberOfChangesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := NewFeed()
		feed.Publish("before anybody listened")
		first, second := feed.Subscribe(t.Context()), feed.Subscribe(t.Context())
		for range 3 {
			feed.Publish("a")
			feed.Publish("b")
		}
		synctest.Wait()
		for _, subscription := range []<-chan string{first, second} {
			got := drain(subscription)
			// The goroutine may hold one id already when the next same one comes.
			if slices.Sort(got); len(slices.Compact(got)) != 2 || len(got) > 3 {
				t.Errorf("got %q", got)
			}
		}
	})
}

func TestFeedTellsASlowReaderToReadEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := NewFeed()
		slow := feed.Subscribe(t.Context())
		for i := range 10 * feedPending {
			feed.Publish(fmt.Sprint(i)) // never blocks: nobody reads
		}
		got := drain(slow)
		if len(got) > feedPending+2 || !slices.Contains(got, "") {
			t.Errorf("a slow reader got %d hints, the one for everything among them: %v", len(got), slices.Contains(got, ""))
		}
		feed.Publish("later")
		if got := drain(slow); !slices.Equal(got, []string{"later"}) {
			t.Errorf("then it got %q", got)
		}
	})
}

func TestFeedForgetsASubscriberThatLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := NewFeed()
		ctx, cancel := context.WithCancel(t.Context())
		subscription := feed.Subscribe(ctx)
		feed.Publish("unread")
		cancel()
		synctest.Wait()
		for range subscription { // one id may still be in hand; then it is closed
		}
		synctest.Wait()
		if len(feed.subscribers) != 0 {
			t.Errorf("%d subscribers are left", len(feed.subscribers))
		}
	})
}

// drain reads all that a subscription has to say now.
func drain(subscription <-chan string) []string {
	var got []string
	for {
		synctest.Wait()
		select {
		case sessionID := <-subscription:
			got = append(got, sessionID)
		default:
			return got
		}
	}
}
