package agent

import (
	"container/list"
	"iter"
)

// recent is a map that keeps the entries that were put last, so many of them.
type recent[V any] struct {
	limit int
	byKey map[string]*list.Element
	// order has the entry that was put last at its end.
	order *list.List
}

type recentEntry[V any] struct {
	key   string
	value V
}

func newRecent[V any](limit int) *recent[V] {
	return &recent[V]{limit: limit, byKey: map[string]*list.Element{}, order: list.New()}
}

func (r *recent[V]) put(key string, value V) {
	if old, known := r.byKey[key]; known {
		r.order.Remove(old)
	}
	r.byKey[key] = r.order.PushBack(recentEntry[V]{key, value})
	if r.order.Len() > r.limit {
		oldest := r.order.Front()
		r.order.Remove(oldest)
		delete(r.byKey, oldest.Value.(recentEntry[V]).key)
	}
}

func (r *recent[V]) remove(key string) {
	if old, known := r.byKey[key]; known {
		r.order.Remove(old)
		delete(r.byKey, key)
	}
}

func (r *recent[V]) get(key string) (value V, known bool) {
	element, known := r.byKey[key]
	if !known {
		return value, false
	}
	return element.Value.(recentEntry[V]).value, true
}

// all gives every entry, the one that was put last at the end.
func (r *recent[V]) all() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for element := r.order.Front(); element != nil; element = element.Next() {
			entry := element.Value.(recentEntry[V])
			if !yield(entry.key, entry.value) {
				return
			}
		}
	}
}
