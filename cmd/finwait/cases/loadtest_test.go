// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// loadtest is a load generator as people write them: a client object for each request.
// Its connections serve once, and it is this end that closes them.
func loadtest() error {
	requests := flag.Int("n", 1000, "requests")
	rate := flag.Int("rate", 1000, "requests a second")
	linger0 := flag.Bool("linger0", false, "close with SO_LINGER 0")
	flag.Parse()
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil && *linger0 {
			err = c.(*net.TCPConn).SetLinger(0)
		}
		return c, err
	}
	var good, bad atomic.Int64
	var wg sync.WaitGroup
	var first sync.Once
	pace := time.NewTicker(time.Second / time.Duration(*rate))
	defer pace.Stop()
	for range *requests {
		<-pace.C
		wg.Go(func() {
			if err := get(dial, flag.Arg(0)); err != nil {
				bad.Add(1)
				first.Do(func() { fmt.Println(err) })
				return
			}
			good.Add(1)
		})
	}
	wg.Wait()
	fmt.Printf("%d responses, %d errors\n", good.Load(), bad.Load())
	return nil
}

func get(dial func(context.Context, string, string) (net.Conn, error), url string) error {
	transport := &http.Transport{DialContext: dial}
	defer transport.CloseIdleConnections()
	r, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return err
}
