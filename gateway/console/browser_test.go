package console

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

	"github.com/lethe-ledger/lethe/gateway/api"
)

// shots names a folder that gets pictures of the page; without it none are taken.
const shots = "LETHE_SHOTS"

// A browser is one tab of a fresh Chromium. What went wrong in it, and every
// address it asked for, is kept.
type browser struct {
	ctx context.Context
	t   *testing.T
	mu  sync.Mutex
	// wrong holds exceptions, and errors and violations of the policy that Chromium
	// logs; asked every URL.
	wrong, asked []string
}

// openBrowser skips the test where there is no Chromium, unless CI says that
// nothing may be skipped.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is not installed, and CI=true allows no skip")
		}
		t.Skip("SKIPPED: chromium is not installed; the page is not tested")
	}
	flags := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1440, 1000)}
	for _, name := range []string{"headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"} {
		flags = append(flags, chromedp.Flag(name, true))
	}
	b := &browser{t: t}
	allocated, stop := chromedp.NewExecAllocator(context.Background(), flags...)
	t.Cleanup(stop)
	tab, _ := chromedp.NewContext(allocated, chromedp.WithListener(b.listen))
	t.Cleanup(func() { b.close(tab) })
	if err := chromedp.Do(tab); err != nil {
		t.Fatal(err)
	}
	b.ctx, stop = context.WithTimeout(tab, 2*time.Minute)
	t.Cleanup(stop)
	command(b, network.Enable, network.EnableParams{})
	command(b, log.Enable, cdp.Empty{})
	command(b, runtime.Enable, cdp.Empty{})
	// A page that scrolls by itself moves away under a click.
	command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: "reduce"}}})
	return b
}

func (b *browser) close(tab context.Context) {
	closing, cancel := context.WithTimeout(tab, 20*time.Second)
	defer cancel()
	if err := chromedp.Cancel(closing); err != nil {
		b.t.Errorf("closing chromium: %v", err)
	}
}

func (b *browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.asked = append(b.asked, e.Request.URL)
	case *network.EventWebSocketCreated:
		b.asked = append(b.asked, e.URL)
	case *runtime.EventExceptionThrown:
		b.wrong = append(b.wrong, e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Source == log.EntrySourceSecurity {
			b.wrong = append(b.wrong, e.Entry.Text+" "+e.Entry.URL)
		}
	}
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// command sends a command of the protocol.
func command[P, R any](b *browser, c cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, c, params); err != nil {
		b.t.Fatalf("%s: %v", c.Method, err)
	}
}

// valueOf evaluates an expression of the page.
func valueOf[T any](b *browser, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for an expression to be true.
func (b *browser) until(expression string) {
	b.t.Helper()
	for end := time.Now().Add(15 * time.Second); !valueOf[bool](b, "!!("+expression+")"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("not within 15 s: %s\nthe page says:\n%s\n%q", expression, valueOf[string](b, "document.body.innerText"), b.faults())
		}
	}
}

func (b *browser) click(selector chromedp.CSS) {
	b.t.Helper()
	b.do(chromedp.Click(selector))
}

// press clicks the button with this text below an element.
func (b *browser) press(below, text string) {
	b.t.Helper()
	b.do(chromedp.Click(fmt.Sprintf(`//*[@id=%q]//button[text()=%q]`, below, text)))
}

func (b *browser) faults() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.wrong)
}

// shot keeps a picture if anybody wants one.
func (b *browser) shot(name string, width, height int64, scheme string) {
	b.t.Helper()
	dir := os.Getenv(shots)
	if dir == "" {
		return
	}
	command(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1})
	command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	command(b, emulation.SetScrollbarsHidden, emulation.SetScrollbarsHiddenParams{Hidden: true})
	time.Sleep(400 * time.Millisecond)
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	command(b, emulation.SetScrollbarsHidden, emulation.SetScrollbarsHiddenParams{})
	command(b, emulation.ClearDeviceMetricsOverride, cdp.Empty{})
	command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{})
}

// reading counts the rows of a ref by what they read.
func (b *browser) reading(ref, reads string) int {
	b.t.Helper()
	return valueOf[int](b, fmt.Sprintf(`[...document.querySelectorAll("#events tr[data-reads='%s'] .c-ref")].filter(c => c.title === %q).length`, reads, ref))
}

const connected = `document.querySelectorAll("#people li[data-state=connected]").length === 3`

// The whole of a trial, as a person does it.
func TestPageInBrowser(t *testing.T) {
	b, f := openBrowser(t), newFake()
	f.seal(f.history()...)
	b.do(chromedp.Navigate(PageURL(f.serve(t), fakeToken)))
	b.until(connected)
	b.until(`document.querySelectorAll("#events tr").length === 17`)

	b.part("token", b.token)
	b.part("chat", b.chat)
	b.part("events", func(t *testing.T) { b.events(t, f) })
	b.part("minute", func(t *testing.T) { b.minute(t, f) })
	b.part("show", func(t *testing.T) { b.show(t, f) })
	b.part("erase", func(t *testing.T) { b.erase(t, f) })
	b.part("checks", func(t *testing.T) { b.checks(t, f) })
	b.click("#traffic")
	b.until(`document.querySelectorAll("#chat li").length > 30`)
	b.part("still", b.still)
	b.part("named", b.named)
	b.shot("light", 1440, 900, "light") // a new size moves everything: these come last
	b.shot("dark", 1440, 900, "dark")
	b.shot("middle", 1000, 900, "light")
	b.shot("narrow", 390, 844, "light")
	b.shot("narrow-dark", 390, 844, "dark")
	if wrong := b.faults(); len(wrong) > 0 {
		t.Errorf("the browser complains: %q", wrong)
	}
}

// part runs a subtest, which fails alone.
func (b *browser) part(name string, run func(*testing.T)) {
	whole := b.t
	defer func() { b.t = whole }()
	whole.Run(name, func(t *testing.T) {
		b.t = t
		run(t)
	})
}

// token: it is in the tab, and in no address.
func (b *browser) token(t *testing.T) {
	if got := valueOf[string](b, `sessionStorage.getItem("lethe-token") + location.hash`); got != fakeToken {
		t.Errorf("kept %q", got)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.asked) < 10 {
		t.Errorf("only %d addresses seen: nothing was looked at", len(b.asked))
	}
	for _, url := range b.asked {
		if strings.Contains(url, "lethe_") && !strings.HasPrefix(url, "data:") {
			t.Errorf("the token is in %s", url)
		}
	}
}

// chat: what is said is text, whatever it looks like, and everybody hears it.
func (b *browser) chat(t *testing.T) {
	const text = `<img src=x onerror="document.title='hurt'">`
	b.do(chromedp.SetValue(chromedp.CSS("#who"), "grace"), chromedp.SendKeys(chromedp.CSS("#text"), text+"\r"))
	b.until(`document.querySelectorAll("#chat li").length === 1`)
	if got := valueOf[string](b, `document.querySelector("#chat li").textContent + document.title`); got != "grace"+text+"Lethe · trial" {
		t.Errorf("the chat shows %q", got)
	}
	b.until(`[...document.querySelectorAll("#people .note")].map(n => n.textContent).join() === "0 sent, 1 received,1 sent, 1 received,0 sent, 1 received"`)
	b.click("#traffic")
	b.until(`document.querySelectorAll("#chat li").length > 12`)
	b.until(`parseInt(document.getElementById("rate").textContent) > 0`)
	b.click("#traffic")
	b.until(`document.getElementById("rate").textContent === "0/s"`)
	n := valueOf[int](b, `document.querySelectorAll("#chat li").length`)
	if peak := valueOf[string](b, `document.getElementById("spark").getAttribute("aria-label")`); strings.Contains(peak, "at most 0") {
		t.Errorf("the line shows nothing: %s", peak)
	}
	if after := valueOf[int](b, `document.querySelectorAll("#chat li").length`); after != n {
		t.Errorf("traffic goes on after it was stopped: %d, then %d lines", n, after)
	}
}

// events: the newest stands first; what comes again changes its row.
func (b *browser) events(t *testing.T, f *fake) {
	if got := valueOf[string](b, `[...document.querySelector("#events tr").cells].slice(1).map(c => c.innerText.trim()).join("|")`); got != "traffic.recorded.v1|messages|"+f.started.UTC().Format(time.DateOnly)+"|b04c1e7a|24|352 B|present" {
		t.Errorf("first row: %s", got)
	}
	if got := valueOf[string](b, `document.getElementById("tally").innerText`); !strings.Contains(got, "14 present") || !strings.Contains(got, "2 expired") {
		t.Errorf("tally: %q", got)
	}
	if valueOf[string](b, `getComputedStyle(document.querySelector("#events tr[data-reads=note]")).display`) != "none" {
		t.Error("notes are shown unasked")
	}
	b.click("#notes")
	b.until(`getComputedStyle(document.querySelector("#events tr[data-reads=note]")).display !== "none"`)
	b.click("#notes")
}

// minute: at its due time the bucket dies, and so do the events in it.
func (b *browser) minute(t *testing.T, f *fake) {
	row := fmt.Sprintf(`document.querySelector("#minutes li[data-bucket='%s']")`, f.bucket(1))
	b.until(row + ".dataset.state === 'live'")
	f.mu.Lock()
	f.minute = time.Since(f.started) + 6*time.Second
	f.mu.Unlock()
	b.until(row + `.innerText.includes("dies in 0:0")`)
	if got := valueOf[string](b, row+".innerText"); !strings.Contains(got, "2 events") {
		t.Errorf("the minute holds %q", got)
	}
	b.until(row + ".dataset.state === 'expired'")
	b.until(`document.querySelectorAll("#events tr[data-reads=expired]").length === 4`)
	if got := valueOf[string](b, `document.querySelector("#due tr[data-class=network]").innerText`); !strings.HasPrefix(got, "network\tP14D\t13 d") || !strings.HasSuffix(got, "\t1\t0") {
		t.Errorf("next due: %q", got)
	}
}

// show: the look is asked for with a purpose, and names the rows of the person.
func (b *browser) show(t *testing.T, f *fake) {
	b.click(`#people li[data-name=ada] button[aria-label^=Show]`)
	b.until(`document.querySelectorAll("#result tbody tr").length === 4`)
	b.until(`document.querySelectorAll("#events .name").length === 8`)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.calls, "show ada for trial page") {
		t.Errorf("calls: %q", f.calls)
	}
}

// erase: pending is not done; then every row of the person turns, nobody else's,
// and a receipt is there.
func (b *browser) erase(t *testing.T, f *fake) {
	before, others := b.reading(adaRef, "present"), b.reading(graceRef, "present")
	if before == 0 {
		t.Fatal("nothing to erase")
	}
	f.mu.Lock()
	f.pending = true
	f.mu.Unlock()
	b.click(`#people li[data-name=ada] .danger`)
	b.until(`document.getElementById("receipt-state").textContent === "pending"`)
	if named := valueOf[int](b, `document.querySelectorAll("#events .name").length`); b.reading(adaRef, "erased") != 0 || named != 8 {
		t.Errorf("before the erasure was done rows turned, or %d of 8 still carry the name", named)
	}
	b.press("receipt", "Finish")
	b.until(`document.getElementById("receipt-state").textContent === "keys-destroyed"`)
	b.until(fmt.Sprintf(`document.querySelectorAll("#events tr[data-reads=erased]").length === %d`, before))
	b.until(`document.querySelectorAll("#events .name").length === 0`)
	if got := b.reading(graceRef, "present"); got != others {
		t.Errorf("%d rows of somebody else present, %d before", got, others)
	}
	b.press("receipt", "Verify")
	b.until(`document.querySelector("#receipt [role=status]").textContent.includes("signature valid")`)
	f.mu.Lock()
	f.pending = false
	f.mu.Unlock()
	b.until(`document.querySelector("#people li[data-name=ada]").innerText.includes("erased (4410)")`)
	if got := valueOf[int](b, `document.querySelectorAll("#people li[data-state=connected]").length`); got != 2 {
		t.Errorf("%d of the two others are connected", got)
	}
	b.click(`#people li[data-name=ada] button.quiet`) // the first: Reconnect
	b.until(connected)
	b.click(`#people li[data-name=ada] button[aria-label^=Show]`)
	b.until(`document.getElementById("result").innerText.includes("unknown")`)
	b.click(`#people li[data-name=ada] .danger`)
	b.until(`document.querySelector("#people li[data-name=ada]").dataset.state === "erased"`)
}

// checks: what differs is said to differ.
func (b *browser) checks(t *testing.T, f *fake) {
	button := func(title string) {
		b.t.Helper()
		b.press("checks", title)
		b.until(fmt.Sprintf(`document.getElementById("result-title").textContent === %q`, title))
	}
	f.mu.Lock()
	f.differ = true
	f.mu.Unlock()
	button("Rebuild the views")
	b.until(`document.querySelector("#result progress")?.value > 0`)
	b.until(`document.getElementById("result").innerText.includes("differs from the live one")`)
	f.mu.Lock()
	f.differ = false
	f.mu.Unlock()
	button("Doctor")
	b.until(`document.querySelectorAll("#result tbody tr").length === 2`)
	button("Keys")
	b.until(`document.getElementById("result").innerText.includes("ready")`)
	button("List the views")
	b.until(`document.getElementById("result").innerText.includes("holdings")`)
	button("Rebuild the views")
	b.until(`document.getElementById("result").innerText.includes("Every rebuilt view equals")`)
	if got := valueOf[string](b, `[...document.querySelectorAll("#checks code")].slice(0, 5).map(c => c.textContent).join("; ")`); got !=
		"lethe --data ./trial views rebuild --all; lethe --data ./trial subject show ada; lethe --data ./trial views list; lethe --data ./trial keys status; lethe --data ./trial doctor" {
		t.Errorf("commands: %s", got)
	}
}

// still: nothing moved but by the reader's own hand.
func (b *browser) still(t *testing.T) {
	b.do(chromedp.Evaluate[chromedp.Void](`window.moved = []; new PerformanceObserver(l => window.moved.push(...l.getEntries().filter(e => !e.hadRecentInput).map(e => ({by: e.value, what: e.sources.map(s => s.node?.id || s.node?.className || s.node?.nodeName).join()})))).observe({type: "layout-shift", buffered: true})`), chromedp.Sleep(300*time.Millisecond))
	sum := valueOf[float64](b, `window.moved.reduce((s, m) => s + m.by, 0)`)
	t.Logf("layout moved by %.4f: %s", sum, valueOf[string](b, `JSON.stringify(window.moved)`))
	if sum > 0.01 {
		t.Errorf("the layout moved by %.3f: %s", sum, valueOf[string](b, `JSON.stringify(window.moved)`))
	}
}

// named: everything that takes the keyboard has a name, and the keyboard gets to it.
func (b *browser) named(t *testing.T) {
	if bad := valueOf[[]string](b, `[...document.querySelectorAll("button, input, select, a, [tabindex='0']")].filter(e => !e.hidden && !e.closest("[hidden]") && !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.labels?.length || e.textContent.trim())).map(e => e.outerHTML)`); len(bad) > 0 {
		t.Errorf("without a name: %q", bad)
	}
	reached := map[string]bool{}
	b.do(chromedp.Evaluate[chromedp.Void](`document.activeElement.blur(); document.querySelector(".skip").focus()`))
	for range 60 {
		b.do(chromedp.KeyEvent("\t"))
		reached[valueOf[string](b, `document.activeElement.id || document.activeElement.getAttribute("aria-label") || document.activeElement.textContent`)] = true
	}
	for _, want := range []string{"traffic", "pace", "Erase ada", "Show what is held about grace", "who", "text", "notes", "Rebuild the views", "Doctor"} {
		if !reached[want] {
			t.Errorf("the keyboard does not reach %q", want)
		}
	}
}

// A token that no longer holds is said to be so, and another can be given.
func TestPageAsksForAToken(t *testing.T) {
	b, f := openBrowser(t), newFake()
	f.seal(f.history()...)
	at := f.serve(t)
	b.do(chromedp.Navigate(at))
	b.until(`!document.getElementById("login").hidden`)
	b.do(chromedp.Navigate("about:blank"), chromedp.Navigate(PageURL(at, "lethe_old")))
	b.until(`document.getElementById("alert").textContent.includes("not valid")`)
	b.shot("token", 1440, 900, "light")
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), fakeToken+"\r"))
	b.until(`document.querySelectorAll("#events tr").length === 17`)
}

// The page goes on when the server is away and back.
func TestPageComesBack(t *testing.T) {
	b, f := openBrowser(t), newFake()
	at := f.serve(t)
	b.do(chromedp.Navigate(PageURL(at, fakeToken)))
	b.until(`document.getElementById("link").dataset.state === "live"`)
	f.down.Store(true)
	f.server.CloseClientConnections()
	b.until(`document.getElementById("link").dataset.state === "lost" && !document.getElementById("alert").hidden`)
	f.seal(api.FeedEvent{Position: 1, Type: "connection.opened.v1", Class: "lifecycle", Bucket: "2026-11-23", Ref: adaRef, Records: 1, Bytes: 288, Readable: "present"})
	f.down.Store(false)
	b.until(`document.querySelectorAll("#events tr").length === 1 && document.getElementById("alert").hidden`)
}
