// SPDX-License-Identifier: Apache-2.0

package html

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser starts a headless Chromium and returns a context of one page, and what went
// wrong on it or left it.
func browser(t *testing.T) (context.Context, func() []string) {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("FINWAIT_REQUIRE_CHROMIUM") == "1" {
			t.Fatalf("FINWAIT_REQUIRE_CHROMIUM is set: %v", err)
		}
		t.Skipf("this host lacks chromium (apt-get install chromium): %v", err)
	}
	opts := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	// The sandbox needs privileges that containers withhold; the page is our own.
	opts = append(opts, chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(2*time.Minute))
	alloc, cancelAlloc := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(cancelAlloc)
	ctx, cancelPage := chromedp.NewContext(alloc)
	t.Cleanup(cancelPage)

	var mu sync.Mutex
	var wrong []string
	err = chromedp.Listen(ctx, func(ev any) {
		what := ""
		switch ev := ev.(type) {
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(ev.Request.URL, "file://"+os.TempDir()) {
				what = "request: " + ev.Request.URL
			}
		case *runtime.EventExceptionThrown:
			what = "exception: " + ev.ExceptionDetails.Text
		case *runtime.EventConsoleAPICalled:
			what = "console: " + string(ev.Type)
		case *log.EventEntryAdded:
			what = "log: " + ev.Entry.Text
		}
		if what != "" {
			mu.Lock()
			wrong = append(wrong, what)
			mu.Unlock()
		}
	})
	if err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	_, err1 := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	_, err2 := chromedp.Call(ctx, runtime.Enable, cdp.Empty{})
	_, err3 := chromedp.Call(ctx, log.Enable, cdp.Empty{})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatalf("watch the page: %v", err)
	}
	return ctx, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return wrong
	}
}

// looks is what a page says of itself.
type looks struct {
	Paper, Ink   string
	Contrast     float64
	Plots        float64 // the lowest contrast of a plot's line with the paper
	ScrollWidth  int
	Wide, Narrow int // drawings of each size that can be seen
	TextSize     float64
}

const look = `(function () {
	function lum(c) {
		var v = c.match(/[\d.]+/g).slice(0, 3).map(function (x) { x /= 255; return x <= 0.03928 ? x / 12.92 : Math.pow((x + 0.055) / 1.055, 2.4); });
		return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2];
	}
	function contrast(a, b) { a = lum(a); b = lum(b); return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }
	function seen(sel) { return Array.from(document.querySelectorAll(sel)).filter(function (e) { return e.getBoundingClientRect().width > 0; }).length; }
	var paper = getComputedStyle(document.documentElement).backgroundColor;
	var ink = getComputedStyle(document.body).color;
	var lines = ["--local", "--peer", "--limit"].map(function (name) {
		var e = document.createElement("i"); e.style.color = "var(" + name + ")"; document.body.appendChild(e);
		var c = contrast(getComputedStyle(e).color, paper); e.remove(); return c;
	});
	var text = Array.from(document.querySelectorAll("svg text")).filter(function (e) { return e.getBoundingClientRect().width > 0; });
	return {Paper: paper, Ink: ink, Contrast: contrast(ink, paper), Plots: Math.min.apply(null, lines),
		ScrollWidth: document.documentElement.scrollWidth, Wide: seen(".wide > svg"), Narrow: seen(".narrow > svg"),
		TextSize: Math.min.apply(null, text.map(function (e) { return parseFloat(getComputedStyle(e).fontSize) * e.ownerSVGElement.getBoundingClientRect().width / e.ownerSVGElement.viewBox.baseVal.width; }))};
})()`

// TestBrowser looks at the page in light and dark, on a desk, on a phone and on paper.
func TestBrowser(t *testing.T) {
	ctx, wrong := browser(t)
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, []byte(write(t, incident(t))), 0o644); err != nil {
		t.Fatal(err)
	}
	var papers []string
	for _, test := range []struct {
		name, scheme, media string
		width, height       int64
	}{
		{"light", "light", "screen", 1280, 900},
		{"dark", "dark", "screen", 1280, 900},
		{"phone-light", "light", "screen", 390, 844},
		{"phone-dark", "dark", "screen", 390, 844},
		{"print", "dark", "print", 794, 1123},
	} {
		_, err1 := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: test.width, Height: test.height, DeviceScaleFactor: 1, Mobile: test.width < 500,
		})
		_, err2 := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Media: test.media, Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: test.scheme}},
		})
		err3 := chromedp.Do(ctx, chromedp.Navigate("file://"+file))
		got, err4 := chromedp.Run(ctx, chromedp.Evaluate[looks](look))
		shot, err5 := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if dir := os.Getenv("FINWAIT_SCREENSHOTS"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, test.name+".png"), shot, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		papers = append(papers, got.Paper)
		if got.Contrast < 7 || got.Plots < 3 {
			t.Errorf("%s: contrast of text %.1f, of plots %.1f, want 7 and 3: %+v", test.name, got.Contrast, got.Plots, got)
		}
		if int64(got.ScrollWidth) > test.width {
			t.Errorf("%s: the page is %d pixels wide on a screen of %d", test.name, got.ScrollWidth, test.width)
		}
		if narrow := test.width < 500; narrow && (got.Wide > 0 || got.Narrow < 4) || !narrow && (got.Narrow > 0 || got.Wide < 4) {
			t.Errorf("%s: %d wide and %d narrow plots", test.name, got.Wide, got.Narrow)
		}
		if got.TextSize < 9 {
			t.Errorf("%s: text in a plot is %.1f pixels high", test.name, got.TextSize)
		}
	}
	if papers[0] == papers[1] || papers[4] != papers[0] {
		t.Errorf("paper is %v for light, dark, phone light, phone dark, print", papers)
	}
	if w := wrong(); len(w) > 0 {
		t.Errorf("the page is not quiet: %q", w)
	}
}

func TestSearch(t *testing.T) {
	ctx, wrong := browser(t)
	r := incident(t)
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, []byte(write(t, r)), 0o644); err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, c := range r.Worst {
		if strings.Contains(c.Why, "CLOSE_WAIT") {
			want++
		}
	}
	if err := chromedp.Do(ctx, chromedp.Navigate("file://"+file)); err != nil {
		t.Fatal(err)
	}
	// rows returns how many rows can be seen, and how many of them lack the word.
	rows := func() (visible, others int) {
		t.Helper()
		const seen = `Array.from(document.querySelectorAll("#worst tbody tr")).filter(function (r) { return r.offsetParent; })`
		visible, err1 := chromedp.Run(ctx, chromedp.Evaluate[int](seen+".length"))
		others, err2 := chromedp.Run(ctx, chromedp.Evaluate[int](seen+".filter(function (r) { return !/CLOSE_WAIT/.test(r.textContent); }).length"))
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		return visible, others
	}
	search := func(keys string) {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.SendKeys(chromedp.CSS("#search"), keys)); err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := rows(); n != len(r.Worst) {
		t.Errorf("%d rows at first, want %d", n, len(r.Worst))
	}
	search("API close_wait")
	if n, others := rows(); n != want || want == 0 || others != 0 {
		t.Errorf("%d rows after a search, %d of them without the word; want %d", n, others, want)
	}
	search(" nothing-has-this")
	if n, _ := rows(); n != 0 {
		t.Errorf("%d rows after a search for what is not there", n)
	}
	if w := wrong(); len(w) > 0 {
		t.Errorf("the page is not quiet: %q", w)
	}
}
