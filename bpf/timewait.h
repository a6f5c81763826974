/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The life of a TIME_WAIT mini-socket. Both probes end here: whichever hook
 * noticed, the same three functions report that it was armed, that it died, and
 * why.
 */
#ifndef FINWAIT_TIMEWAIT_H
#define FINWAIT_TIMEWAIT_H

/* Fills in everything but ktime and kind. False when the filters do not want it. */
static __always_inline bool read_tw(struct event *e, struct inet_timewait_sock *tw)
{
	struct tcp_timewait_sock *tcptw = TYPED(tcp_timewait_sock, tw);

	if (!read_tuple(e, &tw->__tw_common, READ(tw, tw_sport)) || !wanted(e))
		return false;
	if (have_cookie)
		e->cookie = READ(tw, __tw_common.skc_cookie.counter);
	e->sock = (__u64)tw;
	e->expires = READ(tw, tw_timer.expires);
	e->jiffies = bpf_jiffies64();
	e->new_state = READ(tw, tw_substate);
	e->aux = tw_entry_stamp(tw);
	if (READ(tcptw, tw_ts_recent_stamp))
		e->flags |= EVENT_TIMESTAMPS;
	return true;
}

/*
 * The timer was set: birth, or a new 60 s after a segment. `bucket` is when the
 * timer wheel will really serve it. A mini-socket has no references before it is
 * in the hash table (inet_twsk_alloc()), some kernels arm it before, some after.
 */
static __always_inline void tw_armed(struct inet_timewait_sock *tw, __u64 bucket, __u32 flags)
{
	struct event e = { .kind = EVENT_TW_ARMED };

	e.ktime = bpf_ktime_get_ns();
	if (!read_tw(&e, tw))
		return;
	e.bucket = bucket;
	e.flags |= flags;
	emit(&e, NULL);
}

static __always_inline bool same_ends(const struct event *a, const __u8 local[16],
				      const __u8 peer[16], __u32 netns, __u16 local_port,
				      __u16 peer_port)
{
	const __u64 *al = (const __u64 *)a->local, *bl = (const __u64 *)local;
	const __u64 *ap = (const __u64 *)a->peer, *bp = (const __u64 *)peer;

	return a->local_port == local_port && a->peer_port == peer_port && a->netns == netns &&
	       al[0] == bl[0] && al[1] == bl[1] && ap[0] == bp[0] && ap[1] == bp[1];
}

/* Is `sk` connecting, and has it just been given the mini-socket's 4-tuple? */
static __always_inline bool takes_over(const struct event *tw, struct sock *sk)
{
	struct event e = {};

	if (!sk || READ(sk, __sk_common.skc_state) != TCP_SYN_SENT)
		return false;
	if (!read_tuple(&e, &sk->__sk_common, source_port(sk)))
		return false;
	return same_ends(tw, e.local, e.peer, e.netns, e.local_port, e.peer_port);
}

/*
 * The socket whose connect() is taking this mini-socket's 4-tuple over, or NULL.
 * __inet_hash_connect() gives the new socket its port before it takes the old
 * timer off, so the full 4-tuple proves it. The candidates are the socket of
 * current's system call and, for io_uring, the one that last became SYN_SENT here.
 */
static __always_inline struct sock *taker(const struct event *tw, struct cpu_info *cpu)
{
	struct sock *sk = sock_of_fd(current_task(), regs_first_arg(current_regs()));

	if (takes_over(tw, sk))
		return sk;
	sk = TYPED(sock, (void *)cpu->state_sock);
	return takes_over(tw, sk) ? sk : NULL;
}

/* Is current in a call on a netlink socket? ss -K ends mini-sockets from there (tcp_abort()). */
static __always_inline bool in_netlink_call(void)
{
	struct sock *sk = sock_of_fd(current_task(), regs_first_arg(current_regs()));

	return sk && READ(sk, __sk_common.skc_family) == AF_NETLINK;
}

/*
 * The timer was taken off. Expiry, an early end and a re-arm into another bucket
 * of the timer wheel look alike here; `reason` is set where it is certain, and
 * otherwise the evidence follows in the same softirq: a request for the same
 * 4-tuple, a dropped RST, or a new EVENT_TW_ARMED.
 */
static __always_inline void tw_dead(struct inet_timewait_sock *tw, __u8 reason)
{
	struct event e = { .kind = EVENT_TW_DEAD };
	struct cpu_info *cpu = this_cpu();
	struct owner owner = {};
	struct sock *sk;

	e.ktime = bpf_ktime_get_ns();
	if (!cpu || !read_tw(&e, tw))
		return;
	cpu->cut_cookie = 0;
	cpu->cut_sock = 0;
	if (reason == TW_UNKNOWN) {
		if (netns_is_dying(READ(tw, __tw_common.skc_net.net))) {
			reason = TW_NETNS;
		} else if ((sk = taker(&e, cpu))) {
			reason = TW_CONNECT;
			e.successor = known_cookie(sk);
			read_task(&owner, current_task());
		} else {
			/* at or past its time it has most likely expired: evidence decides */
			if ((__s64)(e.jiffies - e.expires) >= 0)
				reason = TW_EXPIRED;
			if (in_netlink_call())
				e.flags |= EVENT_CALL;
			cpu->cut_cookie = e.cookie;
			cpu->cut_sock = e.sock;
			__builtin_memcpy(cpu->cut_local, e.local, sizeof(e.local));
			__builtin_memcpy(cpu->cut_peer, e.peer, sizeof(e.peer));
			cpu->cut_netns = e.netns;
			cpu->cut_local_port = e.local_port;
			cpu->cut_peer_port = e.peer_port;
		}
	}
	e.reason = reason;
	emit(&e, reason == TW_CONNECT ? &owner : NULL);
}

/* `e` holds the ends of a request or a segment: does it explain the last early end on this CPU? */
static __always_inline bool tw_explain(struct event *e, __u8 reason)
{
	struct cpu_info *cpu = this_cpu();

	if (!cpu || !cpu->cut_sock)
		return false;
	if (!same_ends(e, cpu->cut_local, cpu->cut_peer, cpu->cut_netns, cpu->cut_local_port,
		       cpu->cut_peer_port))
		return false;
	e->cookie = cpu->cut_cookie;
	e->sock = cpu->cut_sock;
	e->reason = reason;
	cpu->cut_sock = 0;
	emit(e, NULL);
	return true;
}

/* A SYN made a request for the 4-tuple of the mini-socket that has just gone. */
static __always_inline void tw_reopened(struct request_sock *req)
{
	struct event e = { .kind = EVENT_TW_WHY };
	struct cpu_info *cpu = this_cpu();

	if (!cpu || !cpu->cut_sock)
		return;
	e.ktime = bpf_ktime_get_ns();
	/* ir_num is the local port in host order; a request has no inet_sport */
	if (read_tuple(&e, &req->__req_common, bpf_htons(READ(req, __req_common.skc_num))))
		tw_explain(&e, TW_SYN);
}

#define TCP_FLAG_FIN 0x01
#define TCP_FLAG_RST 0x04
#define ETH_P_IP     bpf_htons(0x0800)
#define ETH_P_IPV6   bpf_htons(0x86dd)

/*
 * tcp_v4_rcv() and tcp_v6_rcv() drop every segment that a mini-socket has
 * answered, after tcp_timewait_state_process(). So the drop shows what the timer
 * alone does not: the FIN that turns FIN_WAIT2 into TIME_WAIT, whatever restarts
 * the minute, and the RST that ends it. `sk` is the mini-socket since 6.11
 * (ba8de796baf4 "net: introduce sk_skb_reason_drop function"), NULL before.
 */
static __always_inline void tw_segment(struct sk_buff *skb, struct sock *sk)
{
	struct event e = { .kind = EVENT_TW_WHY };
	unsigned char *head = READ(skb, head);
	unsigned char *th = head + READ(skb, transport_header);
	unsigned char *nh = head + READ(skb, network_header);
	struct cpu_info *cpu = this_cpu();
	__be16 ports[2];
	__u8 bits = 0;

	if (!cpu || bpf_probe_read_kernel(&bits, 1, th + 13))
		return;
	if (sk && (__u64)sk != cpu->cut_sock && !(bits & TCP_FLAG_RST)) {
		if (READ(sk, __sk_common.skc_state) == TCP_TIME_WAIT)
			tw_armed(TYPED(inet_timewait_sock, sk), 0, EVENT_REQUEUED);
		return;
	}
	if (!cpu->cut_sock && (sk || (bits & TCP_FLAG_RST) || !(bits & TCP_FLAG_FIN)))
		return;
	bpf_probe_read_kernel(ports, sizeof(ports), th);
	if (READ(skb, protocol) == ETH_P_IP) {
		__be32 addr[2];

		bpf_probe_read_kernel(addr, sizeof(addr), nh + 12);
		set_v4(e.peer, addr[0]);
		set_v4(e.local, addr[1]);
	} else {
		bpf_probe_read_kernel(e.peer, 16, nh + 8);
		bpf_probe_read_kernel(e.local, 16, nh + 24);
	}
	e.peer_port = bpf_ntohs(ports[0]);
	e.local_port = bpf_ntohs(ports[1]);
	e.family = is_v4_mapped(e.peer) ? 4 : 6;
	e.ktime = bpf_ktime_get_ns();
	/*
	 * The segment has just ended its mini-socket: an RST, or data for an orphan's
	 * FIN_WAIT2, which the kernel answers with an RST. Same softirq, same CPU, same ends.
	 */
	e.netns = cpu->cut_netns;
	if (tw_explain(&e, TW_RESET))
		return;
	/* Or it is the FIN that a mini-socket waits for; user space knows which, by its ends. */
	if (!sk && (bits & TCP_FLAG_FIN) && !(bits & TCP_FLAG_RST)) {
		e.kind = EVENT_TW_ARMED;
		e.new_state = TCP_TIME_WAIT;
		e.flags = EVENT_REQUEUED;
		e.jiffies = bpf_jiffies64();
		e.netns = 0;
		emit(&e, NULL);
	}
}

#endif /* FINWAIT_TIMEWAIT_H */
