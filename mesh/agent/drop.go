package agent

import "lobstah/key"

// Drop ends all tasks of a node that may ask nothing any more, those that wait too.
func (d *Desk) Drop(id key.ID, why string) {
	d.mu.Lock()
	defer d.unlock()
	for _, e := range d.tasks {
		if e.task.Node == id && !e.task.State.Final() {
			d.stop(e, why)
		}
	}
}

// barred says why a task that waited is not begun: who may ask what is judged again
// when its turn comes. The lock is held.
func (d *Desk) barred(e *entry, s *seat) error {
	if d.cfg.Caller == nil || s.Accepts == nil {
		return nil
	}
	return s.Accepts(d.cfg.Caller(e.task.Node))
}

// Drop ends what this node asked of one that it does not trust any more.
func (o *Outbox) Drop(id key.ID, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.tasks {
		if s.task.Node == id {
			o.end(s, Lost, "", why)
		}
	}
}
