package benchreport

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// WriteJSON writes the results to file as one list, and makes its directory.
func WriteJSON(file string, results []Result) error {
	if results == nil {
		results = []Result{}
	}
	data, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return write(file, append(data, '\n'))
}

// WriteSVG writes the chart of the results to file, and makes its directory.
func WriteSVG(file string, results []Result) error {
	var b bytes.Buffer
	drawing(results).writeTo(&b)
	return write(file, b.Bytes())
}

// write writes a file whole: who reads it meanwhile has the old one.
func write(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("write a report: %w", err)
	}
	if err := os.WriteFile(file+".new", data, 0o644); err != nil {
		return fmt.Errorf("write a report: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("write a report: %w", err)
	}
	return nil
}
