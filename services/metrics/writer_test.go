package metrics_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xvsock/services/metrics"
)

const leftOut = "# HELP xvsock_metrics_left_out Samples that this text lacks, for its size or by mistake.\n" +
	"# TYPE xvsock_metrics_left_out gauge\nxvsock_metrics_left_out "

func TestText(t *testing.T) {
	var w metrics.Writer
	f := w.Counter("b_total", "Things, \\ and\nlines.")
	f.Sample(3, "peer", "2", "direction", "out")
	f.Sample(1e15, "peer", "10")
	f.Sample(2.5, "direction", "in", "peer", "2")
	f.Sample(7)
	w.Gauge("a_seconds", "Time.").Sample(math.Inf(-1), "name", "a\"b\\c\nd\xffé", "empty", "")
	w.Gauge("a_seconds", "Time again.").Sample(math.NaN(), "name", "x")
	w.Gauge("z_none", "Nothing.")
	want := "# HELP a_seconds Time.\n# TYPE a_seconds gauge\n" +
		`a_seconds{name="a\"b\\c\nd` + "\ufffdé" + `"} -Inf` + "\n" + `a_seconds{name="x"} NaN` + "\n" +
		"# HELP b_total Things, \\\\ and\\nlines.\n# TYPE b_total counter\n" +
		"b_total 7\n" +
		`b_total{direction="in",peer="2"} 2.5` + "\n" +
		`b_total{direction="out",peer="2"} 3` + "\n" +
		`b_total{peer="10"} 1e+15` + "\n" +
		leftOut + "0\n"
	if got := string(w.Text()); got != want || w.Err() != nil {
		t.Errorf("%v, text:\n%s\nwant:\n%s", w.Err(), got, want)
	}
	if _, err := read(want); err != nil {
		t.Error(err)
	}
}

func TestMistakesCostTheirSampleOnly(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*metrics.Writer)
		lost int
	}{
		{"a name with a blank", func(w *metrics.Writer) { w.Gauge("a b", "x").Sample(1) }, 1},
		{"no name", func(w *metrics.Writer) { w.Gauge("", "x").Sample(1) }, 1},
		{"a name that begins with a digit", func(w *metrics.Writer) { w.Counter("1a", "x").Sample(1) }, 1},
		{"a name with a colon", func(w *metrics.Writer) { w.Counter("a:b", "x").Sample(1) }, 1},
		{"a name with a line feed", func(w *metrics.Writer) { w.Counter("a\nb", "x").Sample(1) }, 1},
		{"a name beyond ASCII", func(w *metrics.Writer) { w.Counter("é", "x").Sample(1) }, 1},
		{"the writer's own name", func(w *metrics.Writer) { w.Gauge("xvsock_metrics_left_out", "x").Sample(1) }, 1},
		{"two types of a name", func(w *metrics.Writer) { w.Counter("good", "x").Sample(1, "l", "v") }, 1},
		{"a label without value", func(w *metrics.Writer) { w.Gauge("a", "x").Sample(1, "l") }, 1},
		{"a label with a dash", func(w *metrics.Writer) { w.Gauge("a", "x").Sample(1, "l-m", "v") }, 1},
		{"a label of Prometheus' own", func(w *metrics.Writer) { w.Gauge("a", "x").Sample(1, "__name__", "v") }, 1},
		{"a label twice", func(w *metrics.Writer) { w.Gauge("a", "x").Sample(1, "l", "v", "l", "w") }, 1},
		{"an empty label twice", func(w *metrics.Writer) { w.Gauge("a", "x").Sample(1, "l", "", "l", "") }, 1},
		{"a sample twice", func(w *metrics.Writer) { w.Gauge("good", "x").Sample(2) }, 1},
		{"a sample twice by an empty label", func(w *metrics.Writer) { w.Gauge("good", "x").Sample(2, "l", "") }, 1},
		{"a sample twice by another order", func(w *metrics.Writer) {
			f := w.Gauge("a", "x")
			f.Sample(1, "l", "v", "m", "w")
			f.Sample(2, "m", "w", "l", "v")
		}, 1},
	} {
		var w metrics.Writer
		w.Gauge("good", "Good.").Sample(1)
		c.do(&w)
		e, err := read(string(w.Text()))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !errors.Is(w.Err(), metrics.ErrMetric) || e.samples["good"][""] != 1 || e.samples["xvsock_metrics_left_out"][""] != float64(c.lost) {
			t.Errorf("%s: %v, text:\n%s", c.name, w.Err(), w.Text())
		}
	}
}

func TestTextIsBounded(t *testing.T) {
	var w metrics.Writer
	long := strings.Repeat(`"`, 1000)
	const samples = 2000
	for i := range samples {
		w.Gauge(fmt.Sprint("g", i%7), "Help.").Sample(1, "i", fmt.Sprint(i), "long", long)
	}
	text := w.Text()
	e, err := read(string(text))
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for name, s := range e.samples {
		if name != "xvsock_metrics_left_out" {
			kept += len(s)
		}
	}
	lost := e.samples["xvsock_metrics_left_out"][""]
	if len(text) > metrics.MaxText || len(text) < metrics.MaxText-4096 || kept+int(lost) != samples || lost == 0 {
		t.Errorf("%d bytes, %d samples kept, %v left out", len(text), kept, lost)
	}
}

// The lines that begin a family count too.
func TestFamiliesAreBounded(t *testing.T) {
	var w metrics.Writer
	for i := range 2000 {
		w.Gauge(fmt.Sprint("g", i), strings.Repeat("\n", 500)).Sample(1)
	}
	text := w.Text()
	e, err := read(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if lost := e.samples["xvsock_metrics_left_out"][""]; len(text) > metrics.MaxText || lost != float64(2000-len(e.samples)+1) {
		t.Errorf("%d bytes, %d families, %v left out", len(text), len(e.samples), lost)
	}
}

func TestOrderIsThatOfTheNames(t *testing.T) {
	write := func(order []int) string {
		var w metrics.Writer
		for _, i := range order {
			w.Gauge(fmt.Sprint("g", i%3), "Help.").Sample(float64(i), "i", fmt.Sprint(i))
		}
		return string(w.Text())
	}
	if a, b := write([]int{0, 1, 2, 3, 4, 5}), write([]int{5, 3, 1, 4, 2, 0}); a != b {
		t.Errorf("two orders gave\n%s\nand\n%s", a, b)
	}
}

func TestRuntime(t *testing.T) {
	var w metrics.Writer
	metrics.Runtime(&w, time.Now().Add(-time.Minute))
	e, err := read(string(w.Text()))
	if err != nil || w.Err() != nil {
		t.Fatal(err, w.Err())
	}
	for name, least := range map[string]float64{
		"go_goroutines": 2, "go_memstats_heap_alloc_bytes": 1000, "process_resident_memory_bytes": 1 << 20,
		"process_open_fds": 3, "xvsock_uptime_seconds": 60,
	} {
		if v, there := e.samples[name][""]; !there || v < least || e.kind[name] != "gauge" {
			t.Errorf("%s is %v, a %s", name, v, e.kind[name])
		}
	}
	before := e.samples["process_open_fds"][""]
	for range 5 {
		f, err := os.Open(filepath.Join(t.TempDir(), "."))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	var v metrics.Writer
	metrics.Runtime(&v, time.Now())
	if e, _ = read(string(v.Text())); e.samples["process_open_fds"][""] != before+5 {
		t.Errorf("%v open files after %v and 5 more", e.samples["process_open_fds"][""], before)
	}
}

// Whatever is written, the text can be read back.
func FuzzWriter(f *testing.F) {
	f.Add("a_total", "Help.", "label", "value", 1.5)
	f.Add("a", "\\\n\"", "l", "\\n\"\n\\", math.Inf(1))
	f.Fuzz(func(t *testing.T, name, help, label, value string, number float64) {
		var w metrics.Writer
		w.Counter(name, help+"x").Sample(number, label, value)
		w.Counter(name, help+"x").Sample(number, label, value, "other", value)
		e, err := read(string(w.Text()))
		if err != nil {
			t.Fatalf("%v in\n%s", err, w.Text())
		}
		if w.Err() != nil || value == "" {
			return
		}
		want := strings.ToValidUTF8(value, "\ufffd")
		got, there := e.samples[name][fmt.Sprintf("%s=%q ", label, want)]
		if !there || got != number && !math.IsNaN(number) || e.help[name] != strings.ToValidUTF8(help+"x", "\ufffd") {
			t.Fatalf("lost in\n%s", w.Text())
		}
	})
}
