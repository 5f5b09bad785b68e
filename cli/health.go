package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"xvsock/daemon"
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

// checkHealth prints the state of one service.
func (a *app) checkHealth(c *cobra.Command, output, domain, service string) error {
	var state services.State
	err := a.withHealth(domain, func(h *health.Client) (err error) {
		state, err = h.Check(c.Context(), service)
		return err
	})
	if err != nil {
		return err
	}
	v := struct {
		State services.State `json:"state"`
	}{state}
	if err := printList(c.OutOrStdout(), output, v, []string{"STATE"}, [][]string{{string(state)}}); err != nil {
		return err
	}
	if state != services.Serving {
		return fmt.Errorf("%s of %s is %s", service, domain, state)
	}
	return nil
}

// watchHealth prints the state, and each one that follows it.
func (a *app) watchHealth(c *cobra.Command, domain, service string) error {
	return a.withHealth(domain, func(h *health.Client) error {
		for state, err := range h.Watch(c.Context(), service) {
			if err == nil {
				_, err = fmt.Fprintln(c.OutOrStdout(), state)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// listHealth prints how each service has fared. Who may not give orders to the domain
// is told the states alone.
func (a *app) listHealth(c *cobra.Command, output, domain string) error {
	list := []control.ServiceStatus{}
	err := a.withControl(domain, func(d *control.Client) error {
		all, err := d.Services(c.Context())
		list = append(list, all...)
		return err
	})
	if errors.Is(err, control.ErrDenied) || errors.Is(err, daemon.ErrDenied) {
		err = a.withHealth(domain, func(h *health.Client) error {
			all, err := h.List(c.Context())
			for _, s := range all {
				list = append(list, control.ServiceStatus{Name: s.Name, Port: s.Port, State: s.State})
			}
			return err
		})
	}
	if err != nil {
		return err
	}
	var rows [][]string
	for _, s := range list {
		rows = append(rows, []string{s.Name, decimal(s.Port), string(s.State), decimal(int64(s.Starts)), s.Error})
	}
	return printList(c.OutOrStdout(), output, list, []string{"SERVICE", "PORT", "STATE", "STARTS", "LAST ERROR"}, rows)
}
