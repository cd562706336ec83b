package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"strconv"
)

// expense is a line of a file of expenses.
type expense struct {
	line       int
	name, cost string
}

// amount returns what it cost.
func (e expense) amount() (float64, error) {
	amount, err := strconv.ParseFloat(e.cost, 64)
	if err != nil {
		return 0, fmt.Errorf("line %d: %q is no amount", e.line, e.cost)
	}
	return amount, nil
}

// readExpenses reads a CSV file of names and amounts.
func readExpenses(path string) ([]expense, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := csv.NewReader(file)
	lines.FieldsPerRecord = 2
	rows, err := lines.ReadAll()
	if err != nil {
		return nil, err
	}
	all := make([]expense, len(rows))
	for i, row := range rows {
		all[i] = expense{i + 1, row[0], row[1]}
	}
	return all, nil
}
