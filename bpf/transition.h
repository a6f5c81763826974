/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Full sockets: from the handshake to CLOSE, as sock:inet_sock_set_state tells it. */
#ifndef FINWAIT_TRANSITION_H
#define FINWAIT_TRANSITION_H

#define ECONNABORTED	103
#define SHUTDOWN_MASK	3
#define SOCK_DEAD_BIT	(1 << 0) /* enum sock_flags */
#define SOCK_DONE_BIT	(1 << 1) /* tcp_fin(): the peer's FIN has come */
#define SOCK_LINGER_BIT (1 << 4)

/*
 * A socket that is not remembered yet. Whatever is not known stays 0. Whether one that found
 * no room is counted is up to the caller: once for a socket, not at each of its steps.
 */
static __always_inline bool remember(__u64 key, const struct sock_info *fresh)
{
	struct sock_info *s;

	if (bpf_map_update_elem(&socks, &key, fresh, BPF_ANY))
		return false;
	if (!have_cookie) {
		s = bpf_map_lookup_elem(&socks, &key);
		if (s)
			s->cookie = number();
	}
	return true;
}

/* The first step of a socket's life. */
static __always_inline void meet(__u64 key, const struct sock_info *fresh)
{
	if (!remember(key, fresh))
		count(COUNT_MAP_FULL);
}

/*
 * What is remembered of this socket. Addresses come again: should the end of the last
 * socket here have been missed, its owner must not become the owner of this one.
 */
static __always_inline struct sock_info *recall(struct sock *sk, __u64 cookie)
{
	__u64 key = (__u64)sk;
	struct sock_info *s = bpf_map_lookup_elem(&socks, &key);

	return s && (!have_cookie || !s->cookie || s->cookie == cookie) ? s : NULL;
}

/* connect(): CLOSE -> SYN_SENT, in the caller's context. */
static __always_inline void on_connecting(struct sock *sk, __u64 now)
{
	/* a cookie now: a mini-socket that this connect() ends names its successor by it */
	struct sock_info s = { .since = now,
			       .cookie = cookie_of(sk),
			       .fd = -1,
			       .state = TCP_SYN_SENT,
			       .role = ROLE_CLIENT };

	own(&s, ATTR_CACHED, fd_of_call(sk));
	meet((__u64)sk, &s);
}

/*
 * The handshake's last ACK makes a new socket, a copy of the listening one: LISTEN ->
 * SYN_RECV. Or both ends called connect() at once: SYN_SENT -> SYN_RECV.
 */
static __always_inline void on_syn_received(struct sock *sk, int old, __u64 now)
{
	/* inet_csk_clone_lock() gives it the request's cookie after this step: 0 until then */
	struct sock_info child = {
		.since = now, .fd = -1, .state = TCP_SYN_RECV, .role = ROLE_SERVER
	};
	struct sock_info *s;

	if (old == TCP_LISTEN) {
		meet((__u64)sk, &child);
		return;
	}
	s = recall(sk, cookie_of(sk));
	if (s)
		s->state = TCP_SYN_RECV;
}

/* SYN_SENT -> ESTABLISHED or SYN_RECV -> ESTABLISHED. */
static __always_inline void on_established(struct sock *sk, int old, __u64 now)
{
	struct sock_info fresh = { .since = now,
				   .established = now,
				   .cookie = cookie_of(sk),
				   .fd = -1,
				   .state = TCP_ESTABLISHED };
	struct sock_info *s = recall(sk, fresh.cookie);

	if (s) {
		if (have_cookie)
			s->cookie = fresh.cookie;
		s->since = now;
		s->established = now;
		s->state = TCP_ESTABLISHED;
		return;
	}
	fresh.role = old == TCP_SYN_SENT ? ROLE_CLIENT : ROLE_SERVER;
	remember((__u64)sk, &fresh);
}

/* What the connection itself says at this moment. */
static __always_inline void read_sock(struct event *e, struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	unsigned long flags = sk->__sk_common.skc_flags;
	__u32 last, idle, fin = flags & SOCK_DONE_BIT ? 1 : 0;

	e->error = sk->sk_err;
	e->cgroup = sock_cgroup_id(sk);
	if (flags & SOCK_DEAD_BIT)
		e->flags |= EVENT_ORPHAN;
	if ((flags & SOCK_LINGER_BIT) && !READ(sk, sk_lingertime))
		e->flags |= EVENT_LINGER0;
	if (sk->sk_shutdown == SHUTDOWN_MASK)
		e->flags |= EVENT_SHUT_BOTH;
	if (!tp)
		return;
	e->bytes_sent = tp->bytes_sent - tp->bytes_retrans;
	/* the kernel counts the FIN as a byte of payload */
	e->bytes_received = tp->bytes_received - fin;
	e->unread = tp->rcv_nxt - tp->copied_seq - fin;
	if ((__s32)e->unread < 0)
		e->unread = 0;
	last = tp->lsndtime;
	idle = (__u32)bpf_jiffies64() - last;
	last = (__u32)bpf_jiffies64() - tp->inet_conn.icsk_ack.lrcvtime;
	e->aux = last < idle ? last : idle;
	if (tp->linger2 < 0)
		e->flags |= EVENT_LINGER2;
	if (BPF_CORE_READ_BITFIELD(tp, rx_opt.tstamp_ok))
		e->flags |= EVENT_TIMESTAMPS;
}

/*
 * Is a local call making this step, so that current is the caller?
 *
 * Only close() and shutdown() lead to FIN_WAIT1 and LAST_ACK. A step to CLOSE
 * without an error is a call's when a task holds the socket's lock: softirqs
 * wait for that lock, so whoever runs is the holder. tcp_abort() also holds it,
 * from somebody else's task, and leaves ECONNABORTED. A holder also takes the
 * segments that came meanwhile, in release_sock(): those end FIN_WAIT1 and
 * FIN_WAIT2 by themselves, so there the call must have had a reason for its RST.
 */
static __always_inline bool is_call(struct sock *sk, int old, int new, const struct event *e)
{
	if (new == TCP_FIN_WAIT1 || new == TCP_LAST_ACK)
		return true;
	if (new != TCP_CLOSE || e->error || !sk->sk_lock.owned)
		return false;
	switch (old) {
	case TCP_LAST_ACK:
	case TCP_CLOSING:
		return false;
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
		return e->unread || (e->flags & (EVENT_LINGER0 | EVENT_LINGER2)) ||
		       !(e->flags & EVENT_SHUT_BOTH);
	}
	return true;
}

/* close() and exit drop the file's last reference first; shutdown() does not. The kernel's own sockets have no file. */
static __always_inline bool file_is_closing(struct sock *sk)
{
	struct socket *socket = READ(TYPED(sock, sk), sk_socket);
	struct file *file = socket ? READ(socket, file) : NULL;

	return file ? !file_refs(file) : sk->sk_shutdown == SHUTDOWN_MASK;
}

/* Any step towards the end of a connection: the facts that user space sees. */
static __always_inline void on_closing(struct sock *sk, int old, int new, __u64 now)
{
	struct event e = { .kind = EVENT_TRANSITION, .old_state = old, .new_state = new };
	__u64 key = (__u64)sk;
	struct sock_info *s;

	e.ktime = now;
	if (!read_tuple(&e, &sk->__sk_common, source_port(sk)) || !wanted(&e))
		return;
	e.cookie = cookie_of(sk);
	e.sock = key;
	s = recall(sk, e.cookie);
	if (!s) {
		struct sock_info fresh = { .cookie = e.cookie, .fd = -1, .state = old };

		if (remember(key, &fresh))
			s = bpf_map_lookup_elem(&socks, &key);
		if (!have_cookie)
			e.cookie = s ? s->cookie : 0;
	}
	read_sock(&e, sk);
	if (!READ(TYPED(sock, sk), sk_socket) && !(e.flags & EVENT_ORPHAN))
		e.flags |= EVENT_UNACCEPTED;
	if (new == TCP_CLOSE &&
	    (old == TCP_FIN_WAIT2 || old == TCP_CLOSING || old == TCP_FIN_WAIT1) &&
	    tw_table_is_full(READ(TYPED(sock, sk), __sk_common.skc_net.net)))
		e.flags |= EVENT_FULL;
	if (is_call(sk, old, new, &e)) {
		e.flags |= EVENT_CALL;
		if (READ(current_task(), flags) & PF_EXITING)
			e.flags |= EVENT_EXITING;
		if (file_is_closing(sk))
			e.flags |= EVENT_CLOSING;
	}
	if (s && new == TCP_CLOSE && e.error && !(e.flags & (EVENT_CALL | EVENT_ORPHAN)) &&
	    old != TCP_SYN_SENT &&old != TCP_SYN_RECV)
		s->flags |= SOCK_HELD;
	if ((e.flags & EVENT_UNACCEPTED) && !(e.flags & EVENT_CALL)) {
		struct sock_info *l = listener_of(&e);

		if (l) {
			e.attribution = ATTR_CACHED;
			e.since = s ? s->since : 0;
			e.established = s ? s->established : 0;
			e.role = ROLE_SERVER;
			if (s) {
				s->since = now;
				s->state = new;
			}
			emit(&e, &l->owner);
			return;
		}
	}
	if (!s) {
		/* no room to remember it: a caller is still a certain owner */
		struct sock_info lone = { .fd = -1 };

		if ((e.flags & EVENT_CALL) && (!(e.flags & EVENT_CLOSING) || may_close(&lone)) &&
		    own(&lone, ATTR_EXACT, -1)) {
			e.attribution = ATTR_EXACT;
			emit(&e, &lone.owner);
		} else {
			emit(&e, NULL);
		}
		return;
	}
	e.since = s->since;
	e.established = s->established;
	e.role = s->role;
	if ((e.flags & EVENT_CALL) && (!(e.flags & EVENT_CLOSING) || may_close(s)) &&
	    own(s, ATTR_EXACT, (e.flags & EVENT_CLOSING) ? -1 : fd_of_call(sk))) {
		if (e.flags & EVENT_CLOSING)
			s->flags |= SOCK_FINAL;
		e.attribution = ATTR_EXACT;
		s->attribution = ATTR_CACHED;
	} else if (s->attribution) {
		if ((s->flags & SOCK_FINAL) || still_holds(s, sk))
			e.attribution = s->attribution;
	}
	s->since = now;
	s->state = new;
	emit(&e, e.attribution ? &s->owner : NULL);
}

/*
 * close() of a socket that shutdown() had closed before: tcp_close_state() then reports the
 * state that the socket has already. This is the last that is seen of its owner, who
 * stays the owner though no descriptor is left to prove it by. Java closes every
 * connection like this, and so does whoever shuts down first and then closes.
 */
static __always_inline void on_closed(struct sock *sk, int state)
{
	struct sock_info *s;

	if (state != TCP_FIN_WAIT1 && state != TCP_FIN_WAIT2 && state != TCP_CLOSING &&
	    state != TCP_LAST_ACK)
		return;
	s = recall(sk, cookie_of(sk));
	if (s && !(s->flags & SOCK_FINAL) && file_is_closing(sk) && may_close(s) &&
	    own(s, ATTR_CACHED, -1))
		s->flags |= SOCK_FINAL;
}

static __always_inline void step(struct sock *sk, int old, int new)
{
	__u64 now;

	/* Whoever asks for one namespace has all the room for it: no other one fills `socks`. */
	if (filter_netns && READ(READ(sk, __sk_common.skc_net.net), ns.inum) != filter_netns)
		return;
	if (old == new) {
		on_closed(sk, new);
		return;
	}
	if (new == TCP_LISTEN) {
		on_listen(sk);
		return;
	}
	if (old == TCP_LISTEN && new == TCP_CLOSE) {
		listened(sk);
		return;
	}
	now = bpf_ktime_get_ns();
	if (new == TCP_SYN_SENT)
		on_connecting(sk, now);
	else if (new == TCP_SYN_RECV)
		on_syn_received(sk, old, now);
	else if (new == TCP_ESTABLISHED)
		on_established(sk, old, now);
	else
		on_closing(sk, old, new, now);
}

/*
 * The kernel destroys the socket. When it had died under an open descriptor,
 * this is its owner's close(), in the owner's context: tcp_close() holds the lock.
 * The lock is free when nobody had accepted the connection and its listening
 * socket goes away.
 */
static __always_inline bool forget(struct sock *sk)
{
	struct event e = { .kind = EVENT_RELEASE, .old_state = TCP_CLOSE, .new_state = TCP_CLOSE };
	__u64 key = (__u64)sk;
	struct sock_info *s = bpf_map_lookup_elem(&socks, &key);

	if (!s)
		return false;
	if (s->flags & SOCK_HELD) {
		e.ktime = bpf_ktime_get_ns();
		if (read_tuple(&e, &sk->__sk_common, source_port(sk)) && wanted(&e)) {
			e.cookie = cookie_of(sk);
			e.sock = key;
			e.since = s->since;
			e.established = s->established;
			e.role = s->role;
			e.cgroup = sock_cgroup_id(sk);
			if (sk->sk_lock.owned) {
				e.flags = EVENT_CALL;
				if (READ(current_task(), flags) & PF_EXITING)
					e.flags |= EVENT_EXITING;
				if (may_close(s) && own(s, ATTR_EXACT, -1))
					e.attribution = ATTR_EXACT;
			}
			emit(&e, e.attribution ? &s->owner : NULL);
		}
	}
	bpf_map_delete_elem(&socks, &key);
	return true;
}

#endif /* FINWAIT_TRANSITION_H */
