package daemon

import "xvsock/manager"

// BudgetsOf are the budgets that a configuration names; what it does not is as usual.
func BudgetsOf(told map[string]int) manager.Budgets {
	return manager.Budgets{
		Requests: told["requests"], Burst: told["burst"], HalfOpen: told["half-open"],
		Links: told["links"], Connections: told["connections"], Registrations: told["registrations"],
	}
}
