// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"finwait/tracer/event"
)

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(Schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate returns the types of the lines that it has found good.
func validate(t *testing.T, s *jsonschema.Schema, text []byte) map[string]int {
	t.Helper()
	types := map[string]int{}
	for line := range bytes.Lines(text) {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%v\n%s", err, line)
			continue
		}
		types[v.(map[string]any)["type"].(string)]++
	}
	return types
}

// TestSchema holds every record that the Writer writes against the schema.
func TestSchema(t *testing.T) {
	s := compiled(t)
	closed := event.CloseRecord{
		KTime: 1, Socket: socket4, Process: curl, Attribution: event.Exact, PeerProcess: curl, Closer: event.CloserPeer, Method: event.MethodRst,
		TimeWait: full().TimeWait, Orphan: event.EndExpired, Timestamps: 1, Errno: 32, Existed: true, Incomplete: true,
	}
	end := event.End{Lost: map[event.LossReason]uint64{event.LossEvicted: 1}, Kernel: []event.KernelCounters{}}
	records := append(everything(), closed, event.CloseRecord{Socket: bare().Socket}, end, budget(), bareBudget(), seen(), seenMini())
	for m := event.MethodClose; m.String() != ""; m++ {
		tr := *bare()
		tr.Method, tr.Call = m, m
		records = append(records, tr)
	}
	for r := event.EndExpired; r.String() != ""; r++ {
		tr := *bare()
		tr.TimeWait, tr.Orphan = &event.TimeWaitInfo{End: r}, r
		records = append(records, tr)
	}
	for _, r := range event.LossReasons {
		records = append(records, event.Loss{Reason: r, Count: 1})
	}
	for st := event.Established; st.Valid(); st++ {
		tr := *bare()
		tr.Old, tr.New = st, st
		records = append(records, tr)
	}
	types := validate(t, s, written(t, records...))
	for _, name := range append(typeNames[1:], "budget", "socket") {
		if types[name] == 0 {
			t.Errorf("no %s was validated", name)
		}
	}
}

// TestSchemaSamples holds what real kernels reported against it.
func TestSchemaSamples(t *testing.T) {
	text, err := os.ReadFile("../../testdata/samples/linux-6.18-timer.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if n := validate(t, compiled(t), text)["transition"]; n < 50 {
		t.Errorf("%d transitions", n)
	}
}

// TestSchemaRecordings holds recordings against it.
func TestSchemaRecordings(t *testing.T) {
	files, err := filepath.Glob("../../testdata/recordings/*.jsonl.zst")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	s := compiled(t)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d, err := zstd.NewReader(nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := d.DecodeAll(raw, nil)
		d.Close()
		if err != nil {
			t.Fatal(err)
		}
		types := validate(t, s, text)
		if types["trace_start"] != 1 || types["transition"] < 50 || types["trace_end"] != 1 {
			t.Errorf("%s: %v", file, types)
		}
		closes, err := os.ReadFile(strings.TrimSuffix(file, ".jsonl.zst") + ".closes-json.golden")
		if err != nil {
			t.Fatal(err)
		}
		if n := validate(t, s, closes)["close"]; n < 10 {
			t.Errorf("%s: %d closes", file, n)
		}
	}
}

// TestSchemaRefuses: it is not a schema of everything.
func TestSchemaRefuses(t *testing.T) {
	s := compiled(t)
	good := string(written(t, *full()))
	for _, change := range [][2]string{
		{`"type":"transition"`, `"type":"transit"`}, {`"schema_version":1`, `"schema_version":2`}, {`"pid":812`, `"pid":"812"`},
		{`"cookie":"9223372036854775809"`, `"cookie":9223372036854775809`}, {`"TIME_WAIT"`, `"TIMEWAIT"`}, {`"10.0.0.4"`, `"10.0.0"`},
		{`"role"`, `"rôle"`}, {`"local":{`, `"local":{"x":1,`}, {`"timestamps":true`, `"timestamps":null`}, {`"duration_ns":61068200000`, `"duration_ns":6.5`},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(bad))
		if err != nil {
			t.Fatal(err)
		}
		if bad == good || s.Validate(v) == nil {
			t.Errorf("%s is as good as %s", change[1], change[0])
		}
	}
}

// TestSchemaKnowsAll: a name that is added to the code is added to the schema.
func TestSchemaKnowsAll(t *testing.T) {
	var names []string
	names = append(names, event.MethodNames()...)
	for c := range event.CounterEnd {
		names = append(names, c.String())
	}
	for _, n := range names {
		if !strings.Contains(Schema, fmt.Sprintf("%q", n)) {
			t.Errorf("the schema does not know %s", n)
		}
	}
}
