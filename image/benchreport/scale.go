package benchreport

import (
	"math"
	"slices"
)

// tick is a mark on an axis.
type tick struct {
	at    float64
	label string
}

// axis is a logarithmic scale.
type axis struct {
	label    string
	min, max float64
	ticks    []tick
}

// place is where a value lies between the ends of the axis, from 0 to 1.
func (a axis) place(v float64) float64 {
	if a.max <= a.min {
		return 0.5
	}
	return math.Log(v/a.min) / math.Log(a.max/a.min)
}

// valueAxis has round numbers as its marks, and reaches one of them at either end.
func valueAxis(label string, values []float64) axis {
	if len(values) == 0 {
		values = []float64{1}
	}
	a := axis{label: label, min: roundDown(slices.Min(values)), max: roundUp(slices.Max(values))}
	if a.max <= a.min {
		a.max = a.min * 10
	}
	steps := []float64{1, 2, 5}
	if a.max/a.min > 1000 {
		steps = steps[:1]
	}
	for decade := math.Floor(math.Log10(a.min)); decade <= math.Log10(a.max); decade++ {
		for _, step := range steps {
			if v := step * math.Pow(10, decade); v >= a.min*0.999 && v <= a.max*1.001 {
				a.ticks = append(a.ticks, tick{v, number(v)})
			}
		}
	}
	return a
}

// sizeAxis has the sizes that were measured as its marks.
func sizeAxis(label string, sizes []float64) axis {
	a := axis{label: label, min: 1, max: 1}
	if len(sizes) == 0 {
		return a
	}
	sorted := slices.Compact(slices.Sorted(slices.Values(sizes)))
	a.min, a.max = sorted[0], sorted[len(sorted)-1]
	for _, size := range sorted {
		a.ticks = append(a.ticks, tick{size, bytesName(size)})
	}
	return a
}

// roundDown and roundUp give the next number of 1, 2 or 5 times a power of ten.
func roundDown(v float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(v)))
	for _, step := range []float64{5, 2} {
		if v >= step*decade {
			return step * decade
		}
	}
	return decade
}

func roundUp(v float64) float64 {
	down := roundDown(v)
	if down >= v {
		return down
	}
	return roundDown(down * 2.5)
}
