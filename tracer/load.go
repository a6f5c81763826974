// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"

	"finwait/bpf"
	"finwait/tracer/event"
	"finwait/tracer/privilege"
)

// objects is everything of ours that is in the kernel.
type objects struct {
	spec     *ebpf.CollectionSpec
	maps     map[string]*ebpf.Map
	programs map[string]*ebpf.Program
	links    []link.Link     // kept: a link that is garbage collected detaches
	attached map[string]bool // programs
	types    *btf.Spec
	cache    *btf.Cache // with the same types: decoded once for all programs
	ladder   []helpers  // which helpers to try, best first
	helpers  helpers    // which there are
}

// helpers are the kernel-side knobs that depend on which BPF helpers exist.
type helpers struct{ cookie, taskRegs, cast bool }

// Which helpers came with which kernel: all since 6.2, the registers since 5.15, the
// cookie since 5.12.
var helperSets = []helpers{{true, true, true}, {true, true, false}, {true, false, false}, {false, false, false}}

func (h helpers) set(spec *ebpf.CollectionSpec) error {
	err := errors.Join(
		spec.Variables["have_cookie"].Set(flag(h.cookie)),
		spec.Variables["have_task_regs"].Set(flag(h.taskRegs)),
		spec.Variables["have_cast"].Set(flag(h.cast)),
	)
	if err != nil {
		return fmt.Errorf("set helpers: %w", err)
	}
	return nil
}

// removeMemlock is for kernels before 5.11, which charge maps to RLIMIT_MEMLOCK; later ones
// ignore it.
func removeMemlock() error {
	err := rlimit.RemoveMemlock()
	if err == nil {
		return nil
	}
	err = fmt.Errorf("raise RLIMIT_MEMLOCK, which kernels before 5.11 charge BPF maps to: %w", err)
	if isPrivilege(err) && privilege.Lacks("CAP_SYS_RESOURCE") {
		err = fmt.Errorf("%w: %w; give this process CAP_SYS_RESOURCE, or a higher limit (ulimit -l unlimited)", ErrPrivilege, err)
	}
	return err
}

func newObjects(opt Options, k *kernel) (*objects, error) {
	if err := removeMemlock(); err != nil {
		return nil, err
	}
	spec, err := bpf.LoadFinwait()
	if err != nil {
		return nil, fmt.Errorf("read the BPF object: %w", err)
	}
	spec.Maps["events"].MaxEntries = opt.RingBytes
	spec.Maps["socks"].MaxEntries = opt.MaxSockets
	o := &objects{spec: spec, types: k.types, cache: k.cache, ladder: helperSets, maps: map[string]*ebpf.Map{}, programs: map[string]*ebpf.Program{}, attached: map[string]bool{}}
	if opt.NoCookies {
		o.ladder = []helpers{{taskRegs: true}, {}}
	}
	if err := o.configure(opt); err != nil {
		return nil, err
	}
	for name, m := range spec.Maps {
		if name == "events" || name == "socks" || name == "listeners" || name == "counters" || name == "cpus" {
			made, err := ebpf.NewMap(m)
			if err != nil {
				o.Close()
				return nil, fmt.Errorf("create map %s: %w", name, err)
			}
			o.maps[name] = made
		}
	}
	return o, nil
}

// configure writes the kernel side's constants. They must be set before loading: the
// verifier removes the branches that they close.
func (o *objects) configure(opt Options) error {
	set := map[string]any{
		"drag":       opt.Drag,
		"wake_bytes": opt.RingBytes / 16,
	}
	if f := opt.Filter; f != (Filter{}) {
		set["filter_on"] = uint8(1)
		set["filter_family"] = f.Family
		set["filter_netns"] = f.NetNS
		set["filter_local_port"] = ports(f.LocalPort)
		set["filter_peer_port"] = ports(f.PeerPort)
		set["filter_local_addr"], set["filter_local_mask"] = prefix(f.Local)
		set["filter_peer_addr"], set["filter_peer_mask"] = prefix(f.Peer)
	}
	return o.set(set)
}

// locate tells the kernel side where functions are, before what needs them is loaded.
func (o *objects) locate(symbols map[string]span) error {
	return o.set(map[string]any{
		"tw_timer_fn":    symbols["tw_timer_handler"].start,
		"reqsk_timer_fn": symbols["reqsk_timer_handler"].start,
		"rcv4_start":     symbols["tcp_v4_rcv"].start,
		"rcv4_end":       symbols["tcp_v4_rcv"].end,
		"rcv6_start":     symbols["tcp_v6_rcv"].start,
		"rcv6_end":       symbols["tcp_v6_rcv"].end,
	})
}

func (o *objects) set(constants map[string]any) error {
	for name, value := range constants {
		v, ok := o.spec.Variables[name]
		if !ok {
			return fmt.Errorf("set %s: no such constant in the BPF object", name)
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

func ports(r event.PortRange) [2]uint16 {
	if r == (event.PortRange{}) {
		return [2]uint16{0, 65535}
	}
	return [2]uint16{r.First, r.Last}
}

// prefix turns p into what the kernel side compares: 16 bytes of address and mask,
// IPv4 mapped into IPv6, as two words in memory order. An invalid prefix matches all.
func prefix(p netip.Prefix) (addr, mask [2]uint64) {
	if !p.IsValid() {
		return addr, mask
	}
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	a := p.Addr().As16()
	var m [16]byte
	for i := range bits {
		m[i/8] |= 0x80 >> (i % 8)
	}
	for i := range a {
		a[i] &= m[i]
	}
	ne := binary.NativeEndian
	return [2]uint64{ne.Uint64(a[:8]), ne.Uint64(a[8:])}, [2]uint64{ne.Uint64(m[:8]), ne.Uint64(m[8:])}
}

// load loads the named programs that are not loaded yet; all share the maps. The first
// program that is loaded settles which helpers this kernel has.
func (o *objects) load(names []string) error {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return o.programs[name] != nil })
	if len(names) == 0 {
		return nil
	}
	if len(o.programs) > 0 {
		return o.loadWith(names, o.helpers)
	}
	var err error
	for _, h := range o.ladder {
		if err = o.loadWith(names, h); err == nil {
			o.helpers = h
			return nil
		}
		if errors.Is(err, ebpf.ErrNotSupported) || isPrivilege(err) {
			break
		}
	}
	return err
}

func (o *objects) loadWith(names []string, h helpers) error {
	spec := o.spec.Copy()
	for name := range spec.Programs {
		delete(spec.Programs, name)
	}
	for _, name := range names {
		p, ok := o.spec.Programs[name]
		if !ok {
			return fmt.Errorf("load %s: no such program in the BPF object", name)
		}
		spec.Programs[name] = p.Copy()
	}
	if err := h.set(spec); err != nil {
		return err
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: o.maps,
		Programs:        ebpf.ProgramOptions{KernelTypes: o.types},
		Cache:           o.cache,
	})
	if err != nil {
		return err
	}
	defer coll.Close()
	for _, name := range names {
		o.programs[name] = coll.DetachProgram(name)
	}
	return nil
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// attach attaches loaded programs that are not attached yet, in order, all or none.
func (o *objects) attach(names []string) error {
	made := map[string]link.Link{}
	for _, name := range names {
		if o.attached[name] {
			continue
		}
		l, err := link.AttachTracing(link.TracingOptions{Program: o.programs[name]})
		if err != nil {
			for _, l := range made {
				l.Close()
			}
			return fmt.Errorf("attach %s: %w", name, err)
		}
		made[name] = l
	}
	for name, l := range made {
		o.links = append(o.links, l)
		o.attached[name] = true
	}
	return nil
}

// detach stops all events; maps and programs stay readable.
func (o *objects) detach() error {
	var errs []error
	for i := len(o.links) - 1; i >= 0; i-- {
		errs = append(errs, o.links[i].Close())
	}
	o.links = nil
	clear(o.attached)
	return errors.Join(errs...)
}

// Close detaches and releases everything, in reverse order.
func (o *objects) Close() error {
	errs := []error{o.detach()}
	for _, p := range o.programs {
		errs = append(errs, p.Close())
	}
	for _, m := range o.maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// tryFentry loads a program that is never attached, to learn whether fentry is allowed.
func (o *objects) tryFentry() error {
	if err := o.loadWith([]string{"try_fentry"}, helpers{}); err != nil {
		if isPrivilege(err) {
			return fmt.Errorf("load an fentry program: this host's policy refuses it (%w)", errRefused)
		}
		return fmt.Errorf("load an fentry program: %w", err)
	}
	err := o.programs["try_fentry"].Close()
	delete(o.programs, "try_fentry")
	return err
}
