package limit

import "net/netip"

// Counted are the connections and subscriptions of an address or a subject ("address 192.0.2.1").
func (l *Limiter) Counted(id string) (conns, subs int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.busy[id]
	if a == nil {
		a, _ = l.idle.Peek(id)
	}
	if a == nil {
		return 0, 0
	}
	return a.counts[connections].n.Load(), a.counts[subscriptions].n.Load()
}

// Kept are the accounts that are held and those that are remembered.
func (l *Limiter) Kept() (busy, idle int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.busy), l.idle.Len()
}

// AddressKey is what an address is counted by.
func AddressKey(addr netip.Addr) string { return addressKey(addr) }
