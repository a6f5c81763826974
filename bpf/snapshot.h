/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What exists now: the sockets of a network namespace and who holds them. Written by
 * iterators into their own files, not into the ring; tracer/snapshot.go decodes it.
 */
#ifndef FINWAIT_SNAPSHOT_H
#define FINWAIT_SNAPSHOT_H

#define SOCK_STREAM 1

enum seen_flags {
	SEEN_MINI = 1 << 0,	  /* a mini-socket: state is its substate */
	SEEN_TIMESTAMPS = 1 << 1, /* TCP timestamps were negotiated */
	SEEN_BOUND =
		1 << 2, /* somebody chose the port with bind() or listen(): connect() avoids it */
	SEEN_BACKLOG = 1 << 3, /* listen() was called, or this is the child of such a socket */
	SEEN_ORPHAN = 1 << 4,  /* no descriptor refers to it */
	SEEN_FIN = 1 << 5,     /* the peer's FIN has come */
};

struct seen {
	__u64 ktime;	/* CLOCK_MONOTONIC, ns */
	__u64 cookie;	/* socket cookie; 0 where the kernel has none */
	__u64 sock;	/* address: joins sockets and descriptors, never shown */
	__u64 cgroup;	/* cgroup v2 id; 0 unknown */
	__u64 expires;	/* mini-socket: the timer's expiry, jiffies */
	__u64 jiffies;	/* now */
	__u8 local[16]; /* IPv6, or IPv4 mapped into it */
	__u8 peer[16];
	__u32 netns;	/* inode number */
	__u32 entered;	/* mini-socket: entry stamp, CLOCK_MONOTONIC ms modulo 2^32; 0 unknown */
	__u32 ts_stamp; /* mini-socket: when the last timestamp came, CLOCK_MONOTONIC s; 0: none */
	__u32 sequence; /* mini-socket: next to send; tells two of one 4-tuple apart */
	__u32 acked;	/* jiffies since the last segment with an ACK */
	__u32 received; /* jiffies since the last data */
	__u32 unread;	/* bytes received that the application has not read */
	__u32 flags;	/* enum seen_flags */
	__u16 local_port;
	__u16 peer_port;
	__u8 family; /* 4 or 6; v4-mapped counts as 4 */
	__u8 state;
	__u8 pad[10];
};

struct held {
	struct seen seen;
	struct owner owner;
	__u32 fd;
	__u32 pad;
};

_Static_assert(sizeof(struct seen) == 128, "struct seen is part of the wire");
_Static_assert(sizeof(struct held) == 192, "struct held is part of the wire");

/* The ends and the namespace; false for what is not IPv4 or IPv6. */
static __always_inline bool see_ends(struct seen *s, struct sock_common *skc, __be16 sport)
{
	struct event e = {};

	if (!read_tuple(&e, skc, sport))
		return false;
	__builtin_memcpy(s->local, e.local, sizeof(s->local));
	__builtin_memcpy(s->peer, e.peer, sizeof(s->peer));
	s->netns = e.netns;
	s->local_port = e.local_port;
	s->peer_port = e.peer_port;
	s->family = e.family;
	s->ktime = bpf_ktime_get_ns();
	s->jiffies = bpf_jiffies64();
	return true;
}

/*
 * __inet_hash_connect() marks the bucket of a port that it chose itself with -1 and -1,
 * inet_csk_get_port() with anything else, and the former passes over the latter's.
 */
static __always_inline bool is_bound(struct inet_bind_bucket *tb)
{
	return tb && (BPF_CORE_READ(tb, fastreuse) >= 0 || BPF_CORE_READ(tb, fastreuseport) >= 0);
}

static __always_inline bool see_mini(struct seen *s, struct inet_timewait_sock *tw)
{
	struct tcp_timewait_sock *tcptw = (void *)tw;

	if (!see_ends(s, &tw->__tw_common, BPF_CORE_READ(tw, tw_sport)))
		return false;
	s->flags = SEEN_MINI;
	s->cookie = BPF_CORE_READ(tw, __tw_common.skc_cookie.counter);
	s->sock = (__u64)tw;
	s->state = BPF_CORE_READ(tw, tw_substate);
	s->expires = BPF_CORE_READ(tw, tw_timer.expires);
	s->entered = tw_entry_stamp(tw);
	s->ts_stamp = BPF_CORE_READ(tcptw, tw_ts_recent_stamp);
	s->sequence = BPF_CORE_READ(tw, __tw_common.skc_tw_snd_nxt);
	if (s->ts_stamp)
		s->flags |= SEEN_TIMESTAMPS;
	if (is_bound(BPF_CORE_READ(tw, tw_tb)))
		s->flags |= SEEN_BOUND;
	return true;
}

/* `sk` is any TCP socket that is not a mini-socket nor a request. */
static __always_inline bool see_sock(struct seen *s, struct sock *sk)
{
	struct inet_connection_sock *icsk = (void *)sk;
	struct tcp_sock *tp = (void *)sk;
	unsigned long flags = BPF_CORE_READ(sk, __sk_common.skc_flags);
	__u32 fin = flags & SOCK_DONE_BIT ? 1 : 0;

	__be16 port = bpf_htons(BPF_CORE_READ(sk, __sk_common.skc_num));

	s->state = BPF_CORE_READ(sk, __sk_common.skc_state);
	/* a dead connection has given its port back; inet_sport still has it */
	if (!port)
		port = BPF_CORE_READ((struct inet_sock *)sk, inet_sport);
	if (!see_ends(s, &sk->__sk_common, port))
		return false;
	s->sock = (__u64)sk;
	s->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	s->cgroup = sock_cgroup_id(sk);
	if (flags & SOCK_DEAD_BIT)
		s->flags |= SEEN_ORPHAN;
	if (fin)
		s->flags |= SEEN_FIN;
	if (is_bound(BPF_CORE_READ(icsk, icsk_bind_hash)))
		s->flags |= SEEN_BOUND;
	/* sk_clone() copies it from the listening socket to each of its children */
	if (s->state == TCP_LISTEN || BPF_CORE_READ(sk, sk_max_ack_backlog))
		s->flags |= SEEN_BACKLOG;
	if (BPF_CORE_READ_BITFIELD_PROBED(tp, rx_opt.tstamp_ok))
		s->flags |= SEEN_TIMESTAMPS;
	s->acked = (__u32)s->jiffies - BPF_CORE_READ(tp, rcv_tstamp);
	s->received = (__u32)s->jiffies - BPF_CORE_READ(icsk, icsk_ack.lrcvtime);
	if (s->state != TCP_LISTEN && s->state != TCP_CLOSE && s->state != TCP_SYN_SENT)
		s->unread = BPF_CORE_READ(tp, rcv_nxt) - BPF_CORE_READ(tp, copied_seq) - fin;
	return true;
}

#endif /* FINWAIT_SNAPSHOT_H */
