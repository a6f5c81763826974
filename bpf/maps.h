/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every map and every knob: who writes it, who clears it, why this size. */
#ifndef FINWAIT_MAPS_H
#define FINWAIT_MAPS_H

/* Flags of struct sock_info. */
enum {
	SOCK_FINAL = 1 << 0, /* the owner closed it: nobody else can be the owner any more */
	SOCK_HELD = 1 << 1,  /* dead (RST, timeout, abort) while a descriptor still refers to it */
};

/* What is remembered of a live socket between two of its events. */
struct sock_info {
	__u64 since;	   /* ktime of the last transition; 0 unknown */
	__u64 established; /* ktime; 0 unknown */
	__u64 cookie;	   /* of the socket; another one at the same address is another socket */
	__u64 leader;	   /* task_struct of the owner's thread-group leader, as a number */
	struct owner owner;
	__s32 fd; /* descriptor through which the owner was seen; -1 unknown */
	__u8 state;
	__u8 role;
	__u8 attribution;
	__u8 flags;
};

/*
 * Facts on their way to user space. Written by emit.h alone, read by one Go
 * goroutine. The size is set before loading; when it is full, facts are counted
 * in COUNT_RING_FULL and dropped: a traced program never waits for its tracer.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

/*
 * Live sockets by address. Inserted at connect(), at the end of the handshake, or
 * at the first event of a socket that is older than the tracer; deleted when the
 * kernel destroys the socket. Preallocated: nothing is allocated in a handler.
 * The size is set before loading.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct sock_info);
} socks SEC(".maps");

/*
 * Listening sockets by namespace and port, for connections that nobody has accepted
 * yet. Inserted at listen() and by the iterator, deleted when the last one of the port
 * is closed. The socket's owner is in `socks`.
 */
struct listener_key {
	__u32 netns;
	__u32 port;
};

struct listener {
	__u64 sock;    /* address; 0 once it cannot be told which one remains */
	__u64 sockets; /* how many listen on the port */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct listener_key);
	__type(value, struct listener);
} listeners SEC(".maps");

/* Per-CPU counters by enum counter; they only ever go up. Read by Go. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/*
 * What this CPU is doing. `state_*`, `destroyed` and `dropped` are what the first
 * instance of a program has just done, for its second instance: set at the end,
 * cleared at the beginning and by whoever has read it, because addresses come again.
 * `cut_*` is the mini-socket whose timer was just taken off, until the reason shows
 * itself in the same softirq.
 */
struct cpu_info {
	__u64 state_sock;
	__u64 state_step;
	__u64 destroyed;
	__u64 dropped;
	__u64 cut_cookie;
	__u64 cut_sock;
	__u8 cut_local[16];
	__u8 cut_peer[16];
	__u32 cut_netns;
	__u16 cut_local_port;
	__u16 cut_peer_port;
	__u64 packet_tw; /* mini-socket a segment is being processed for (fentry probe) */
	__u32 packet_reason;
	__u32 woken; /* the reader has been woken since this CPU last found the ring empty enough */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu_info);
} cpus SEC(".maps");

/* Knobs, set before loading; the verifier removes the branches that they close. */
const volatile __u8 have_cookie = 1;	     /* bpf_get_socket_cookie() works here (5.12) */
const volatile __u8 have_task_regs = 1;	     /* bpf_task_pt_regs() works here (5.15) */
const volatile __u8 have_cast = 1;	     /* bpf_rdonly_cast() works here (6.2) */
const volatile __u32 wake_bytes = 256 << 10; /* wake the reader when this much is waiting */

/* For tests: makes the state program slow, so that softirqs interrupt it. */
const volatile __u32 drag = 0;

/* Addresses from kallsyms; 0 where the symbol is hidden. */
const volatile __u64 tw_timer_fn = 0;		   /* tw_timer_handler */
const volatile __u64 reqsk_timer_fn = 0;	   /* reqsk_timer_handler */
const volatile __u64 rcv4_start = 0, rcv4_end = 0; /* tcp_v4_rcv */
const volatile __u64 rcv6_start = 0, rcv6_end = 0; /* tcp_v6_rcv */

/*
 * Filters on sockets. Either end may match, so that the other end of a
 * connection inside this host is still seen and can be named; the exact choice
 * is made in user space, by the same code for live and replay.
 */
const volatile __u8 filter_on = 0;
const volatile __u8 filter_family = 0; /* 4, 6 or 0 */
const volatile __u32 filter_netns = 0;
const volatile __u16 filter_local_port[2] = { 0, 65535 };
const volatile __u16 filter_peer_port[2] = { 0, 65535 };
const volatile __u64 filter_local_addr[2] = {};
const volatile __u64 filter_local_mask[2] = {};
const volatile __u64 filter_peer_addr[2] = {};
const volatile __u64 filter_peer_mask[2] = {};

static __always_inline void count(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &which);

	if (n)
		*n += 1;
}

static __always_inline struct cpu_info *this_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&cpus, &zero);
}

#endif /* FINWAIT_MAPS_H */
