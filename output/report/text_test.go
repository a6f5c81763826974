// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the goldens anew")

// golden compares got with testdata/report/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("..", "..", "testdata", "report", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (write it with -update)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// incident has something of everything, on two hosts, one of them cut off.
func incident(t testing.TB) *Report {
	c := New(Options{})
	one := exhausted()
	one.at = append(one.at, leak(40, -1).at...)
	one.at = append(one.at, lingering(probe, 1, 0).at...)
	one.start.TimeWaits = 40
	one.play(c.Trace("web-1.jsonl.zst"))
	two := neverFin()
	two.start.Host, two.start.BootID = "web-2", "c"
	two.cut = true
	two.play(c.Trace("it's web-2.jsonl"))
	return c.Report()
}

func TestText(t *testing.T) {
	for _, test := range []struct {
		name   string
		report *Report
		opt    TextOptions
	}{
		{"incident.golden", incident(t), TextOptions{}},
		{"incident-color.golden", incident(t), TextOptions{Color: true, Rows: 3}},
		{"nothing.golden", newWorld(time.Minute).report(t), TextOptions{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := Text(&b, test.report, test.opt); err != nil {
				t.Fatal(err)
			}
			golden(t, test.name, b.Bytes())
		})
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := JSON(&b, incident(t)); err != nil {
		t.Fatal(err)
	}
	golden(t, "incident.json.golden", b.Bytes())
}
