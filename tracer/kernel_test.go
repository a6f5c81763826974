// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestReadSymbols(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       map[string]span
	}{
		{"nothing", "", map[string]span{}},
		{
			"a symbol ends where the next address begins", `
ffffffff81000000 T _text
ffffffff81a00100 T tcp_v4_rcv
ffffffff81a00900 t tcp_v4_fill_cb
ffffffff81a00a00 t tw_timer_handler
ffffffff81a00a40 T tcp_time_wait
`, map[string]span{"tcp_v4_rcv": {0xffffffff81a00100, 0xffffffff81a00900}, "tw_timer_handler": {0xffffffff81a00a00, 0xffffffff81a00a40}},
		},
		{
			"aliases share the address, before and after", `
ffffffff81a00000 T __pfx_tcp_v4_rcv
ffffffff81a00010 T __alias_before
ffffffff81a00010 T tcp_v4_rcv
ffffffff81a00010 T __alias_after
ffffffff81a00800 t end
`, map[string]span{"tcp_v4_rcv": {0xffffffff81a00010, 0xffffffff81a00800}},
		},
		{
			"two wanted symbols next to each other, one of them twice under one address", `
ffffffff81a00010 T tcp_v4_rcv
ffffffff81a00010 T tcp_v4_rcv
ffffffff81a00800 T tw_timer_handler
ffffffff81a00900 t end
`, map[string]span{"tcp_v4_rcv": {0xffffffff81a00010, 0xffffffff81a00800}, "tw_timer_handler": {0xffffffff81a00800, 0xffffffff81a00900}},
		},
		{
			"modules are not the kernel", `
ffffffff81a00010 T tcp_v4_rcv
ffffffff81a00800 t end
ffffffffc0000000 t tw_timer_handler	[other]
ffffffffc0000100 t tcp_v4_rcv	[other]
ffffffffc0000200 t end	[other]
`, map[string]span{"tcp_v4_rcv": {0xffffffff81a00010, 0xffffffff81a00800}},
		},
		{
			"hidden addresses", `
0000000000000000 T tcp_v4_rcv
0000000000000000 t tw_timer_handler
0000000000000000 t end
`, map[string]span{},
		},
		{
			"the name as a whole", `
ffffffff81a00010 T tcp_v4_rcv.cold
ffffffff81a00020 T xtcp_v4_rcv
ffffffff81a00030 T tcp_v4
ffffffff81a00040 t end
`, map[string]span{},
		},
		{
			"lines that are no symbols", `
garbage
zzzz T tcp_v4_rcv
ffffffff81a00010 T
ffffffff81a00010 t tw_timer_handler
ffffffff81a00020 t end
`, map[string]span{"tw_timer_handler": {0xffffffff81a00010, 0xffffffff81a00020}},
		},
		{"nothing tells where the last one ends", "ffffffff81a00010 T tcp_v4_rcv\n", map[string]span{}},
	} {
		got, err := readSymbols(strings.NewReader(strings.TrimPrefix(tc.text, "\n")), []string{"tcp_v4_rcv", "tw_timer_handler"})
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(span{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
	broken := errors.New("broken")
	if _, err := readSymbols(iotest.ErrReader(broken), []string{"tcp_v4_rcv"}); !errors.Is(err, broken) {
		t.Errorf("error = %v, want the reader's", err)
	}
}

// TestTimerSymbols: why there is no address decides what is to be done.
func TestTimerSymbols(t *testing.T) {
	for _, tc := range []struct {
		name      string
		symbolErr error
		want      error
		says      string
	}{
		{"another kernel", nil, ErrNoFunction, "not on this kernel"},
		{"no privilege", hidden(true), ErrPrivilege, "CAP_SYSLOG"},
		{"kptr_restrict", hidden(false), ErrNoFunction, "kernel.kptr_restrict"},
		{"no /proc", errors.New("no such file; mount proc on /proc"), nil, "mount proc"},
	} {
		k := &kernel{symbols: map[string]span{}, symbolErr: tc.symbolErr}
		err := k.timerSymbols()
		if err == nil || tc.want != nil && !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: error = %v, want %v and %q", tc.name, err, tc.want, tc.says)
		}
	}
	k := &kernel{symbols: map[string]span{"tw_timer_handler": {1, 2}}}
	if err := k.timerSymbols(); err != nil {
		t.Errorf("error = %v with the symbol known", err)
	}
}
