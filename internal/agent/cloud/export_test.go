package cloud

import "time"

// Age makes the credentials older by d.
func (c *Client) Age(d time.Duration) {
	if k := c.keys.current.Load(); k != nil {
		older := *k
		older.refresh, older.end = k.refresh.Add(-d), k.end.Add(-d)
		c.keys.current.Store(&older)
	}
}

// Resume ends the pause that a server asked for.
func (c *Client) Resume() {
	c.pause.mu.Lock()
	defer c.pause.mu.Unlock()
	c.pause.until = time.Time{}
}

// Advance sets the clock to sign by forward.
func (c *Client) Advance(d time.Duration) { c.clock.ahead.Add(int64(d)) }
