// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"
)

const (
	pageBegin = "<!-- bench -->\n"
	pageEnd   = "<!-- /bench -->\n"
)

// writePage puts the tables between the page's markers.
func writePage(path, tables string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok1 := strings.Cut(string(raw), pageBegin)
	_, after, ok2 := strings.Cut(rest, pageEnd)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no %q … %q", path, pageBegin, pageEnd)
	}
	return os.WriteFile(path, []byte(before+pageBegin+tables+pageEnd+after), 0o644)
}
