// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The scripted peer's corner of the namespace: one end of a veth pair has an address,
// the other end has none and belongs to a packet socket.
const (
	kernelLink = "demo0"
	peerLink   = "demo1"
)

var (
	kernelAddr = netip.MustParseAddr("10.83.0.1")
	peerAddr   = netip.MustParseAddr("10.83.0.2")

	// peerMAC is not the peer link's own address. Frames to it pass the packet socket
	// and are then "for another host": the stack behind the link never answers them.
	peerMAC = net.HardwareAddr{0x02, 0, 0, 0, 0x83, 0x02}
)

// raiseLoopback must run on the namespace's thread.
func raiseLoopback() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	return nil
}

// link is what the scripted peer needs to know of the pair.
type link struct {
	index     int              // of the peer's end
	kernelMAC net.HardwareAddr // of the kernel's end
}

// addLink must run on the namespace's thread. A kernel without veth gives
// errors.ErrUnsupported.
func addLink() (link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = kernelLink
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peerLink})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return link{}, fmt.Errorf("add veth pair: %w", errors.ErrUnsupported)
	}
	if err != nil {
		return link{}, fmt.Errorf("add veth pair: %w", err)
	}
	near, err := netlink.LinkByName(kernelLink)
	if err != nil {
		return link{}, fmt.Errorf("find %s: %w", kernelLink, err)
	}
	far, err := netlink.LinkByName(peerLink)
	if err != nil {
		return link{}, fmt.Errorf("find %s: %w", peerLink, err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: kernelAddr.AsSlice(), Mask: net.CIDRMask(24, 32)}}
	if err := netlink.AddrAdd(near, address); err != nil {
		return link{}, fmt.Errorf("add address to %s: %w", kernelLink, err)
	}
	for _, l := range []netlink.Link{far, near} {
		if err := netlink.LinkSetUp(l); err != nil {
			return link{}, fmt.Errorf("raise %s: %w", l.Attrs().Name, err)
		}
	}
	neighbour := &netlink.Neigh{
		LinkIndex: near.Attrs().Index, State: netlink.NUD_PERMANENT,
		IP: peerAddr.AsSlice(), HardwareAddr: peerMAC,
	}
	if err := netlink.NeighSet(neighbour); err != nil {
		return link{}, fmt.Errorf("add neighbour to %s: %w", kernelLink, err)
	}
	return link{index: far.Attrs().Index, kernelMAC: near.Attrs().HardwareAddr}, nil
}
