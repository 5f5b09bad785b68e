// Package benchreport makes of the measurements of a benchmark, in which two sides took
// turns, what people and programs read: a table, a JSON file and a chart.
//
// The machine on which both sides ran may have drifted by a factor of two meanwhile, so
// what counts is the ratio within each pair of runs, and the median of those ratios.
package benchreport
