// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"finwait/cmd/kernels/guest"
)

func TestStream(t *testing.T) {
	exit := guest.Exit{Code: 3, Up: 1500}
	start, end := guest.StartMark+"\n", "\n"+exit.String()+"\n"
	for name, tc := range map[string]struct {
		in      string
		out     string
		started bool
		exit    *guest.Exit
	}{
		"nothing":             {"", "", false, nil},
		"noise before":        {"noise\n" + start + "a\nb\n" + end, "a\nb\n", true, &exit},
		"no output":           {start + end, "", true, &exit},
		"last line unended":   {start + "a\nb" + end, "a\nb\n", true, &exit},
		"blank lines stay":    {start + "\na\n\n\nb\n\n" + end, "\na\n\n\nb\n\n", true, &exit},
		"died":                {start + "a\n\nb", "a\n\nb", true, nil},
		"nothing after":       {start + "a\n" + end + "late\n", "a\n", true, &exit},
		"mark of another run": {start + "@@finwait-exit code=x@@\n" + end, "@@finwait-exit code=x@@\n", true, &exit},
	} {
		for _, chunk := range []int{1, 7, 1 << 10} { // as the port may cut it
			var out strings.Builder
			s := &stream{out: &out}
			for in := tc.in; in != ""; {
				n := min(chunk, len(in))
				if _, err := s.Write([]byte(in[:n])); err != nil {
					t.Fatal(err)
				}
				in = in[n:]
			}
			s.flush()
			if diff := cmp.Diff(tc.out, out.String()); diff != "" {
				t.Errorf("%s, %d bytes at a time: %s", name, chunk, diff)
			}
			if diff := cmp.Diff(tc.exit, s.exit); diff != "" || s.hasStarted() != tc.started {
				t.Errorf("%s: started %v, exit %s", name, s.hasStarted(), diff)
			}
		}
	}
}
