// Package door serves the unix socket through which programs of the domain make and
// take connections.
package door
