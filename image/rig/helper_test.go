package rig_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plain writes a file's size and permissions as stat -c '%s %a' does.
func plain(size int64, mode os.FileMode) string { return fmt.Sprintf("%d %o\n", size, mode.Perm()) }
