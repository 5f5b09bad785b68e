package sys

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// GntallocLimit is the file with the number of pages that all processes
// together may grant through gntalloc (1024 when the module is loaded without a
// parameter). It may be written at any time.
const GntallocLimit = "/sys/module/xen_gntalloc/parameters/limit"

// ErrLimit says that a file holds no limit.
var ErrLimit = errors.New("not a number of pages")

// ReadLimit returns the limit in the file at path.
func ReadLimit(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	limit, err := parseLimit(string(text))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	return limit, nil
}

// RaiseLimit makes the limit in the file at path at least pages and returns the
// limit that holds afterwards. It never lowers it. If it cannot be raised, the
// error comes with the limit as it is.
func RaiseLimit(path string, pages int) (int, error) {
	limit, err := ReadLimit(path)
	if err != nil || limit >= pages {
		return limit, err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return limit, err
	}
	_, err = file.WriteString(strconv.Itoa(pages) + "\n")
	if err := errors.Join(err, file.Close()); err != nil {
		return limit, err
	}
	return ReadLimit(path)
}

// parseLimit reads a module parameter of type int as the kernel prints it. The
// kernel accepts a negative one, under which nothing can be granted: 0.
func parseLimit(text string) (int, error) {
	n, err := strconv.ParseInt(strings.TrimSuffix(text, "\n"), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%w: %.16q", ErrLimit, text)
	}
	return max(int(n), 0), nil
}
