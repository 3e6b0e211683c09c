package flow

import (
	"testing"
	"time"
)

// FuzzPause holds that a pause's document that is accepted is kept as the same pause, whatever else it holds.
func FuzzPause(f *testing.F) {
	f.Add(`{"pipeline":[{"name":"exec","args":{"_":["ls"],"json":true},"raw":"exec ls --json"}],"resumeAtIndex":1,"items":[1],"haltType":"approval_request","prompt":"P","createdAt":"x","supersededResumeStateKeys":[]}`)
	f.Add(`{"pipeline":[{"name":"ask","args":{"_":[]},"raw":"ask"}],"resumeAtIndex":0,"items":[],"haltType":"input_request","resumeMode":"same_stage","inputSchema":{},"prompt":"P","commandInput":{}}`)
	f.Add(`{"pipeline":[{"name":""}],"resumeAtIndex":2,"items":{}}`)
	f.Fuzz(func(t *testing.T, doc string) {
		p, err := readPause([]byte(doc))
		if err != nil {
			return
		}
		if p.next < 0 || p.next > len(p.pipeline.Stages) {
			t.Fatalf("%q goes on at stage %d of %d", doc, p.next, len(p.pipeline.Stages))
		}
		again, err := readPause(p.document(time.Unix(0, 0)))
		if err != nil || again.next != p.next || again.kind != p.kind || again.mode != p.mode || !again.pipeline.Equal(p.pipeline) || len(again.items) != len(p.items) {
			t.Fatalf("%q is kept as %+v (%v), want %+v", doc, again, err, p)
		}
	})
}
