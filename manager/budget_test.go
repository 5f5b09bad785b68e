package manager_test

import (
	"errors"
	"testing"

	"xvsock/manager"
)

func TestBudgetsAreChecked(t *testing.T) {
	for name, c := range map[string]struct {
		budgets manager.Budgets
		good    bool
	}{
		"as usual":                {manager.Budgets{}, true},
		"the defaults":            {manager.DefaultBudgets(), true},
		"all at their least":      {manager.Budgets{Requests: 1, Burst: 1, HalfOpen: 1, Links: 1, Connections: 1, Registrations: 1}, true},
		"no requests":             {manager.Budgets{Requests: -1}, false},
		"no burst":                {manager.Budgets{Burst: -1}, false},
		"nothing half open":       {manager.Budgets{HalfOpen: -1}, false},
		"too much half open":      {manager.Budgets{HalfOpen: 1025}, false},
		"as many links as HELLO":  {manager.Budgets{Links: 256}, true},
		"more links than a HELLO": {manager.Budgets{Links: 257}, false},
		"no connections":          {manager.Budgets{Connections: -5}, false},
		"no registrations":        {manager.Budgets{Registrations: -5}, false},
	} {
		if err := c.budgets.Check(); (err == nil) != c.good || err != nil && !errors.Is(err, manager.ErrBudget) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
