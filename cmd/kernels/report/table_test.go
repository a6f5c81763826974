// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func columns() []Column {
	old := Parse(`=== RUN   TestFeatureKinds
=== RUN   TestFeatureKinds/fentry
=== RUN   TestFeatureKinds/fentry/linger0
=== RUN   TestFeatureKinds/fentry/sigkill
--- FAIL: TestFeatureKinds (2.00s)
    --- FAIL: TestFeatureKinds/fentry (2.00s)
        --- PASS: TestFeatureKinds/fentry/linger0 (1.00s)
        --- FAIL: TestFeatureKinds/fentry/sigkill (1.00s)
=== RUN   TestCounters
=== RUN   TestCounters/ring
=== RUN   TestCounters/map
    counters_test.go:9: kernel lacks: the map
--- PASS: TestCounters (0.00s)
    --- PASS: TestCounters/ring (0.00s)
    --- SKIP: TestCounters/map (0.00s)
`)
	recent := Parse(`=== RUN   TestFeatureKinds
=== RUN   TestFeatureKinds/fentry
=== RUN   TestFeatureKinds/fentry/linger0
=== RUN   TestFeatureKinds/fentry/sigkill
=== RUN   TestFeatureKinds/timer
=== RUN   TestFeatureKinds/timer/linger0
--- PASS: TestFeatureKinds (2.00s)
    --- PASS: TestFeatureKinds/fentry (2.00s)
        --- PASS: TestFeatureKinds/fentry/linger0 (1.00s)
        --- PASS: TestFeatureKinds/fentry/sigkill (1.00s)
    --- PASS: TestFeatureKinds/timer (2.00s)
        --- PASS: TestFeatureKinds/timer/linger0 (1.00s)
=== RUN   TestCounters
=== RUN   TestCounters/map
    counters_test.go:9: kernel lacks: the map
--- PASS: TestCounters (0.00s)
    --- SKIP: TestCounters/map (0.00s)
=== RUN   TestNew
--- PASS: TestNew (0.00s)
`)
	return []Column{
		{Name: "5.10", Tests: old, Troubles: []string{"the kernel is tainted: warning"}, Wall: 12600 * time.Millisecond},
		{Name: "6.12", Tests: recent, Wall: 9 * time.Second},
	}
}

func TestWrite(t *testing.T) {
	for _, tc := range []struct {
		all  bool
		want string
	}{
		{false, `
feature               5.10   6.12
TestFeatureKinds      FAIL   ok
  fentry              FAIL   ok 1
    sigkill           FAIL   ok
  timer               –      ok 1
TestCounters          lacks  lacks
TestNew               –      ok
the machine itself    FAIL   ok
seconds on this host  13     9
lacks  every kernel: TestCounters/map: the map
FAIL   5.10: the kernel is tainted: warning
FAIL   5.10: TestFeatureKinds/fentry/sigkill failed
`},
		{true, `
feature               5.10   6.12
TestFeatureKinds      FAIL   ok
  fentry              FAIL   ok
    linger0           ok     ok
    sigkill           FAIL   ok
  timer               –      ok
    linger0           –      ok
TestCounters          lacks  lacks
TestNew               –      ok
the machine itself    FAIL   ok
seconds on this host  13     9
lacks  every kernel: TestCounters/map: the map
FAIL   5.10: the kernel is tainted: warning
FAIL   5.10: TestFeatureKinds/fentry/sigkill failed
`},
	} {
		var b strings.Builder
		if err := Write(&b, columns(), tc.all); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.TrimPrefix(tc.want, "\n"), b.String()); diff != "" {
			t.Errorf("all %v: %s", tc.all, diff)
		}
	}
}
