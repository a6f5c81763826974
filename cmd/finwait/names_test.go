// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// evil is what a hostile user calls things: it clears the screen, sets the title, rings,
// turns the direction of writing, breaks lines and HTML, and is no UTF-8.
const evil = "\x1b[2J\x1b]0;x\x07\u009b31m\u202e\r\n\x00\x7f\xff\xc3<script>alert(1)</script>'\"`$(id)&"

// harmless fails if text has anything that a terminal would act on.
func harmless(t *testing.T, what, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%s: not UTF-8: %.300q", what, text)
	}
	for i, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%s: %q in %q", what, r, text[max(0, i-40):min(len(text), i+40)])
			return
		}
	}
}

// evilRecording is a recording whose every text is evil: it may come from anybody.
func evilRecording(t *testing.T) string {
	t.Helper()
	bad := strings.ToValidUTF8(evil, "\\ufffd")
	q, err := json.Marshal(bad)
	if err != nil {
		t.Fatal(err)
	}
	raw := strings.ReplaceAll(string(q), `\u0000`, `\u0001`)
	long, err := json.Marshal(strings.Repeat("\x1b[2J", 4000))
	if err != nil {
		t.Fatal(err)
	}
	process := fmt.Sprintf(`{"pid":7,"tid":7,"comm":"\u001b[2J\r\n<b>&'","thread":"\u009b31m","uid":0,"exe":%s,"cgroup":%s,"container":{"id":%s}}`, raw, raw, raw)
	lines := []string{
		fmt.Sprintf(`{"type":"trace_start","schema_version":1,"timestamp":"2026-01-01T00:00:00.000000001Z","ktime_ns":1,"version":%[1]s,"command_line":[%[1]s,%[2]s],"host":%[1]s,"kernel":%[1]s,"arch":%[1]s,"boot_id":%[1]s,"hz":250,"clock_offset_ns":1767225600000000000,"time_wait_probe":%[1]s,"time_wait_probe_reason":%[1]s,"hooks":[{"name":%[1]s,"lost":%[1]s,"error":%[1]s},{"name":%[1]s,"attached":%[1]s}],"namespaces":[{"inode":1,"tcp_tw_reuse":%[1]s,"ip_local_port_range":%[1]s,"tcp_max_tw_buckets":%[1]s}],"existing":{"sockets":0,"time_waits":0}}`, raw, long),
	}
	for i, step := range [][2]string{{"ESTABLISHED", "FIN_WAIT1"}, {"FIN_WAIT1", "FIN_WAIT2"}, {"FIN_WAIT2", "TIME_WAIT"}, {"TIME_WAIT", "CLOSE"}} {
		timewait := ""
		if step[0] == "TIME_WAIT" {
			timewait = `,"time_wait":{"duration_ns":1000,"end_reason":"reused_by_connect","restarts":0,"successor":{"cookie":"9","process":` + process + `}}`
		}
		lines = append(lines, fmt.Sprintf(`{"type":"transition","schema_version":1,"timestamp":"2026-01-01T00:00:0%[1]d.000000000Z","ktime_ns":%[1]d000000000,"socket":{"cookie":"5"},"netns":{"inode":1},"network_type":"ipv4","local":{"address":"10.0.0.1","port":40000},"peer":{"address":"10.0.0.2","port":80},"role":"client","old_state":%[2]q,"new_state":%[3]q,"duration_ns":5,"process":%[4]s,"attribution":"exact","peer_process":%[4]s,"closer":"local","method":"close"%[5]s}`,
			i+1, step[0], step[1], process, timewait))
	}
	lines = append(lines,
		`{"type":"loss","schema_version":1,"timestamp":"2026-01-01T00:00:08.000000000Z","ktime_ns":8000000000,"reason":"ring_full","count":3}`,
		`{"type":"trace_end","schema_version":1,"timestamp":"2026-01-01T00:00:09.000000000Z","ktime_ns":9000000000,"elapsed_ns":9,"totals":{"transitions":4},"lost":{"ring_full":3},"complete":false}`)
	file := filepath.Join(t.TempDir(), "evil\x1b[31m\u202e\xff.jsonl")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Skipf("a file cannot have that name here: %v", err)
	}
	return file
}

// TestNamesInRecording: a recording from somebody else is shown without harm, in every form.
func TestNamesInRecording(t *testing.T) {
	file := evilRecording(t)
	page := filepath.Join(t.TempDir(), "page.html")
	for _, args := range [][]string{
		{"replay"}, {"replay", "-o", "wide"}, {"replay", "--view", "closes"}, {"replay", "--view", "closes", "-o", "wide"},
		{"report"}, {"report", "--color", "never", "--html", page},
	} {
		p := newProgram(t, append(args, file)...).start()
		<-p.ended
		if p.code != exitDone || p.out.String() == "" {
			t.Errorf("%v: ended with %d, %d bytes: %s", args, p.code, len(p.out.String()), p.err.String())
		}
		harmless(t, fmt.Sprint(args, " stdout"), p.out.String())
		harmless(t, fmt.Sprint(args, " stderr"), p.err.String())
	}
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script>alert", "\x1b", "\u202e", "\u009b"} {
		if strings.Contains(string(b), bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if st, err := os.Stat(page); err != nil || st.Mode() != 0o600 {
		t.Errorf("the page: %v, %v; want mode 0600", st, err)
	}
	// JSON keeps what was there, as text that is harmless until somebody decodes it.
	for _, args := range [][]string{{"replay", "-o", "json"}, {"report", "-o", "json"}} {
		p := newProgram(t, append(args, file)...).start().exits(exitDone)
		for i := range len(p.out.String()) {
			if c := p.out.String()[i]; c < ' ' && c != '\n' || c == 0x7f {
				t.Errorf("%v: byte %#x", args, c)
				break
			}
		}
	}
}

// TestNamesInErrors: the name of a file reaches the terminal in an error, in a warning of the
// log and in a usage message.
func TestNamesInErrors(t *testing.T) {
	name := filepath.Join(t.TempDir(), "evil\x1b[31m\u202e\xff")
	cut := name + ".jsonl"
	if err := os.WriteFile(cut, []byte(`{"type":"tr`), 0o600); err != nil {
		t.Skipf("a file cannot have that name here: %v", err)
	}
	for _, args := range [][]string{
		{"replay", name}, {"report", name}, {"replay", cut}, {"report", cut}, {"replay", cut, "--strict", "--color", "never"},
		{name}, {"--closer", name}, {"--" + name}, {"--btf", name}, {"doctor", "--btf", cut}, {"--netns", name}, {"record", "-w", name + "/"},
		{"--keep-capabilities", name}, {"report", "--html", cut, cut},
	} {
		p := newProgram(t, args...).start()
		<-p.ended
		harmless(t, fmt.Sprintf("%q", args), p.err.String())
		harmless(t, fmt.Sprintf("%q stdout", args), p.out.String())
	}
}

// TestNamesLive: processes with such names, live.
func TestNamesLive(t *testing.T) {
	s := newStage(t)
	for _, name := range []string{"\x1b[2J\x07\x9b\xff\xc3\r\nx", "\u202e\u009b31m<b>&'"} {
		client, server := newActor(t, s.lab, "plain", ""), newActor(t, s.lab, name, "")
		for _, args := range [][]string{{}, {"-o", "wide"}, {"--view", "closes", "-o", "wide"}} {
			p := newProgram(t, append(args, "--netns", inode(s.lab))...).live().start()
			talks(server, client)
			talks(client, server)
			p.signal(os.Interrupt).exits(exitDone)
			if !strings.Contains(p.out.String(), "plain") {
				t.Errorf("%v: nothing is shown:\n%s", args, p.out.String())
			}
			harmless(t, fmt.Sprint(args), p.out.String())
			harmless(t, fmt.Sprint(args, " stderr"), p.err.String())
		}
		p := newProgram(t, "-o", "json", "--netns", inode(s.lab)).live().start()
		talks(server, client)
		p.signal(os.Interrupt).exits(exitDone)
		p.whole() // each line is JSON
		if !utf8.ValidString(p.out.String()) {
			t.Error("JSON that is not UTF-8")
		}
	}
}

// TestPageSymlink: the page is not written through a symbolic link that somebody has planted,
// not even with --force: then the link is replaced, and what it points to stays.
func TestPageSymlink(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(recordingsDir, "*.jsonl.zst"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "page.html")
	if err := os.WriteFile(target, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	newProgram(t, "report", files[0], "--html", link).start().exits(exitUsage).says("exists", "--force")
	newProgram(t, "report", files[0], "--html", link, "--force").start().exits(exitDone)
	if b, err := os.ReadFile(target); err != nil || string(b) != "mine" {
		t.Errorf("what the link pointed to is %.40q, %v", b, err)
	}
	if st, err := os.Lstat(link); err != nil || !st.Mode().IsRegular() || st.Mode().Perm() != 0o600 {
		t.Errorf("the page: %v, %v; want a file of its own", st, err)
	}
}
