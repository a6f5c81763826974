// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "load" {
		if err := runLoad(); err != nil {
			fmt.Fprintln(os.Stderr, "bench load:", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "hold" {
		if err := runHold(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench hold:", err)
			os.Exit(1)
		}
		return
	}
	list, missing := contenders(os.Args[1])
	fmt.Println(missing)
	fd := &field{dir: os.TempDir(), conns: 30000}
	for i := 0; i < 3; i++ {
		e, err := fd.empty()
		fmt.Println("empty", e, err)
		for _, c := range list {
			if o := os.Getenv("ONLY"); o != "" && o != c.name {
				continue
			}
			f, err := fd.free()
			if err != nil {
				panic(err)
			}
			r, err := fd.traced(&c, e)
			if err != nil {
				fmt.Println(c.name, err)
				continue
			}
			fmt.Printf("%s: kept %.2f load %.1f -> %.1f kernel %.0f raw %.0f runs %.2f user %.0f sys %.0f lost %d of %d ready %v parts %v\n", c.name, r.speed/f.speed, f.load, r.load, r.kernel, r.raw, r.runs, r.user, r.system, r.lost, r.rows, r.ready, r.parts)
		}
	}
}
