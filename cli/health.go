package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"xvsock/services"
	"xvsock/services/control"
	"xvsock/services/health"
)

// healthCommand is `xvsock health`.
func (a *app) healthCommand() *cobra.Command {
	var watch bool
	c := &cobra.Command{
		Use: "health DOMAIN [SERVICE]", Short: "Say how the services of a domain are", Args: cobra.RangeArgs(1, 2),
		Long: "health lists the services of DOMAIN with what is known of each: why it failed last, how\n" +
			"often it was started. With SERVICE it prints the state of that one: SERVING,\n" +
			"NOT_SERVING or SERVICE_UNKNOWN, and ends with 0 only if it is the first. With --watch it\n" +
			"goes on and prints every change; without SERVICE, of the domain as a whole.",
	}
	output := outputFlag(c)
	c.Flags().BoolVar(&watch, "watch", false, "go on and print each change")
	c.RunE = func(c *cobra.Command, args []string) error {
		service := ""
		if len(args) == 2 {
			service = args[1]
		}
		switch {
		case watch:
			return a.watchHealth(c, args[0], service)
		case service != "":
			return a.checkHealth(c, *output, args[0], service)
		}
		return a.listHealth(c, *output, args[0])
	}
	return c
}

// stateOf is the state of a service, as a Check and each part of a Watch tell it.
type stateOf struct {
	State services.State `json:"state"`
}

// serviceOf are the parameters of both; without a service the domain is meant.
type serviceOf struct {
	Service string `json:"service,omitempty"`
}

// checkHealth prints the state of one service.
func (a *app) checkHealth(c *cobra.Command, output, domain, service string) error {
	var s stateOf
	q := question{domain: domain, port: services.PortHealth, method: health.MethodCheck, in: serviceOf{service}}
	if err := a.ask(c.Context(), q, &s); err != nil {
		return err
	}
	if err := printList(c.OutOrStdout(), output, s, []string{"STATE"}, [][]string{{string(s.State)}}); err != nil {
		return err
	}
	if s.State != services.Serving {
		return fmt.Errorf("%s of %s is %.40s", service, domain, s.State)
	}
	return nil
}

// watchHealth prints the state, and each one that follows it.
func (a *app) watchHealth(c *cobra.Command, domain, service string) error {
	q := question{domain: domain, port: services.PortHealth, method: health.MethodWatch, in: serviceOf{service}}
	return a.askStream(c.Context(), q, func(part json.RawMessage) error {
		var s stateOf
		if err := json.Unmarshal(part, &s); err != nil {
			return fmt.Errorf("health: %w", err)
		}
		_, err := fmt.Fprintln(c.OutOrStdout(), printable(string(s.State)))
		return err
	})
}

// listHealth prints how each service has fared.
func (a *app) listHealth(c *cobra.Command, output, domain string) error {
	list := []control.ServiceStatus{}
	err := a.askStream(c.Context(), order(domain, control.MethodServices, nil), func(part json.RawMessage) error {
		var p struct{ Services []control.ServiceStatus }
		if err := json.Unmarshal(part, &p); err != nil {
			return fmt.Errorf("health: %w", err)
		}
		list = append(list, p.Services...)
		return nil
	})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, s := range list {
		rows = append(rows, []string{s.Name, decimal(s.Port), string(s.State), decimal(int64(s.Starts)), s.Error})
	}
	return printList(c.OutOrStdout(), output, list, []string{"SERVICE", "PORT", "STATE", "STARTS", "LAST ERROR"}, rows)
}
