package tool

import (
	"context"
	"time"
)

// SetWait replaces how a client pauses before it repeats a call.
func (c *Client) SetWait(wait func(context.Context, time.Duration) error) { c.wait = wait }
