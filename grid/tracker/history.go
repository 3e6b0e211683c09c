package tracker

import "time"

// A day is told in slots of half an hour.
const (
	slots    = 48
	slotTime = 24 * time.Hour / slots
)

func slotOf(now time.Time) int64 { return now.Unix() / int64(slotTime/time.Second) }

// a day holds one number for each slot of the last 24 hours, in a ring.
type day[N uint8 | uint32] struct {
	last   int64 // the newest slot
	values [slots]N
}

// roll makes slot the newest and fills those since then.
func (d *day[N]) roll(slot int64, fill N) {
	if d.last < slot-slots {
		d.last = slot - slots
	}
	for d.last < slot {
		d.last++
		d.values[d.last%slots] = fill
	}
}

// raise makes the newest slot at least n.
func (d *day[N]) raise(n N) {
	at := &d.values[d.last%slots]
	*at = max(*at, n)
}

// read lists the slots, oldest first, as they are at slot.
func (d *day[N]) read(slot int64, fill N) []N {
	c := *d
	c.roll(slot, fill)
	list := make([]N, slots)
	for i := range list {
		list[i] = c.values[(c.last+1+int64(i))%slots]
	}
	return list
}
