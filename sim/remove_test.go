package sim_test

import (
	"testing"

	"xvsock/sim"
	"xvsock/xenstore"
)

// A transaction that has listed a node's children removes that node after another
// client has removed one of them.
func TestATransactionRemovesWhatIsGoneMeanwhile(t *testing.T) {
	h := sim.NewTest(t)
	one, other := h.Domain(0).NewProcess().Xenstore(), h.Domain(0).NewProcess().Xenstore()
	defer one.Close()
	defer other.Close()
	ctx := t.Context()
	for _, path := range []string{"/test/a", "/test/b"} {
		if err := one.Write(ctx, path, "x"); err != nil {
			t.Fatal(err)
		}
	}
	tries := 0
	err := one.Transaction(ctx, func(tx *xenstore.Tx) error {
		if tries++; tries == 1 {
			if _, err := tx.List(ctx, "/test"); err != nil {
				return err
			}
			if err := other.Remove(ctx, "/test/a"); err != nil {
				return err
			}
		}
		return tx.Remove(ctx, "/test")
	})
	if err != nil || tries < 2 {
		t.Errorf("Transaction = %v after %d tries; want it disturbed once, and done", err, tries)
	}
}
