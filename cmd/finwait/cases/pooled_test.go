// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// pooled is many small services, each with a pool of connections of its own, as Go's HTTP client has it:
// each sends a request that must not be sent twice, once in a while, and its pool keeps the connection meanwhile.
func pooled() error {
	services := flag.Int("services", 100, "how many")
	requests := flag.Int("requests", 3, "of each")
	every := flag.Duration("every", time.Second, "between two of its requests, give or take")
	jitter := flag.Duration("jitter", 0, "how much to give or take")
	idle := flag.Duration("idle-timeout", 90*time.Second, "of the pool")
	flag.Parse()
	var good, bad atomic.Int64
	var wg sync.WaitGroup
	var first sync.Once
	for i := range *services {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{IdleConnTimeout: *idle}}
			time.Sleep(time.Second * time.Duration(i) / time.Duration(*services)) // not all at once
			for i := range *requests {
				if i > 0 {
					time.Sleep(*every - *jitter + rand.N(2**jitter+1))
				}
				if err := post(client, flag.Arg(0)); err != nil {
					bad.Add(1)
					first.Do(func() { fmt.Println(err) })
					continue
				}
				good.Add(1)
			}
		})
	}
	wg.Wait()
	fmt.Printf("%d responses, %d errors\n", good.Load(), bad.Load())
	return nil
}

func post(client *http.Client, url string) error {
	r, err := client.Post(url, "text/plain", strings.NewReader("pay 1\n"))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return err
}
