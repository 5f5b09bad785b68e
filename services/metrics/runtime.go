package metrics

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strconv"
	"time"
)

// Runtime writes what the process uses: goroutines, bytes of the Go heap, resident
// memory, open files, and seconds since started. The names are those that Prometheus'
// own libraries use, where they have one. What /proc does not tell is left out.
func Runtime(w *Writer, started time.Time) {
	w.Gauge("go_goroutines", "Goroutines.").Sample(float64(runtime.NumGoroutine()))
	w.Gauge("xvsock_uptime_seconds", "Time since the daemon started.").Sample(time.Since(started).Seconds())
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	if heap[0].Value.Kind() == metrics.KindUint64 {
		w.Gauge("go_memstats_heap_alloc_bytes", "Bytes of objects on the Go heap.").Sample(float64(heap[0].Value.Uint64()))
	}
	process(w, "/proc/self")
}

// process writes what the directory of a process in /proc tells.
func process(w *Writer, dir string) {
	if pages, ok := residentPages(dir); ok {
		w.Gauge("process_resident_memory_bytes", "Resident memory.").Sample(float64(pages) * float64(os.Getpagesize()))
	}
	if files, ok := openFiles(dir); ok {
		w.Gauge("process_open_fds", "Open file descriptors.").Sample(float64(files))
	}
}

// residentPages is the second word of statm (proc_pid_statm(5)).
func residentPages(dir string) (uint64, bool) {
	statm, err := os.ReadFile(filepath.Join(dir, "statm"))
	words := bytes.Fields(statm)
	if err != nil || len(words) < 2 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(words[1]), 10, 64)
	return n, err == nil
}

// openFiles counts the entries of fd, without the one that is open for counting.
func openFiles(dir string) (int, bool) {
	d, err := os.Open(filepath.Join(dir, "fd"))
	if err != nil {
		return 0, false
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	return len(names) - 1, err == nil
}
