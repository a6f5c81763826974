// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"bytes"
	"strings"
	"testing"

	"finwait/tracer/event"
)

// TestNobody: where the process is not known, the socket's cgroup is written all the
// same, and nothing that could be taken for a process.
func TestNobody(t *testing.T) {
	var out bytes.Buffer
	tr := event.Transition{Old: event.Established, New: event.CloseWait, Process: event.Process{Cgroup: "/a.slice", Container: "0123"}}
	if err := New(&out, event.Clock{}).Transition(&tr); err != nil {
		t.Fatal(err)
	}
	const want = `"process":{"cgroup":"/a.slice","container":{"id":"0123"}},"attribution":"unknown"`
	if !strings.Contains(out.String(), want) {
		t.Errorf("%s\nlacks %s", out.String(), want)
	}
	var s scan
	s.b = []byte(`{"cgroup":"/a.slice","container":{"id":"0123"}}`)
	var ps processes
	var p event.Process
	ps.texts = map[string]string{}
	ps.parse(&s, &p)
	if p != tr.Process || p.Known() {
		t.Errorf("read back as %+v", p)
	}
}
