package payload

import (
	"io"
	"os"
	"testing"
)

func TestAFinishedOutletGivesWhatIsThere(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() // whoever holds it open
	o := newOutlet(r)
	defer o.Close()
	w.Write(make([]byte, 60000))
	o.finish()
	if all, err := io.ReadAll(o); len(all) != 60000 || err != nil {
		t.Errorf("%d bytes, %v; want 60000 and the end", len(all), err)
	}
	w.Write([]byte("late"))
	o.rest = 0
	if n, err := o.Read(make([]byte, 10)); err != io.EOF {
		t.Errorf("after the most that a pipe holds: %d, %v", n, err)
	}
}
