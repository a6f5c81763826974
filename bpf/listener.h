/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Listening sockets: who a connection belongs to before anyone has accepted it. */
#ifndef FINWAIT_LISTENER_H
#define FINWAIT_LISTENER_H

/*
 * Nobody has accepted the connection, so it belongs to whoever holds the listening
 * socket: its one process, if there is just one such socket for the port, and just
 * one holder of it. A worker that shares it might be the one to accept.
 */
static __always_inline struct sock_info *listener_of(const struct event *e)
{
	struct listener_key key = { .netns = e->netns, .port = e->local_port };
	struct listener *l = bpf_map_lookup_elem(&listeners, &key);
	struct sock_info *s;
	struct sock *sk;
	struct file *file;
	__u64 at;

	if (!l || l->sockets != 1 || !l->sock)
		return NULL;
	at = l->sock;
	s = bpf_map_lookup_elem(&socks, &at);
	sk = TYPED(sock, (void *)at);
	if (!s || !s->attribution || !still_holds(s, sk))
		return NULL;
	file = READ(READ(sk, sk_socket), file);
	return file && file_refs(file) == 1 ? s : NULL;
}

/* listen(): CLOSE -> LISTEN, in the caller's context; or a listening socket older than the tracer. */
static __always_inline void listening(struct sock *sk, const struct sock_info *s)
{
	struct listener_key key = { .netns = READ(READ(TYPED(sock, sk), __sk_common.skc_net.net),
						  ns.inum),
				    .port = READ(sk, __sk_common.skc_num) };
	struct listener fresh = { .sock = (__u64)sk, .sockets = 1 };
	struct listener *l;
	__u64 at = (__u64)sk;

	if (bpf_map_update_elem(&socks, &at, s, BPF_NOEXIST))
		return; /* known already, or no room: children stay without a name */
	if (!bpf_map_update_elem(&listeners, &key, &fresh, BPF_NOEXIST))
		return;
	l = bpf_map_lookup_elem(&listeners, &key);
	if (l)
		__sync_fetch_and_add(&l->sockets, 1);
}

/* The listening socket goes away. */
static __always_inline void listened(struct sock *sk)
{
	struct listener_key key = { .netns = READ(READ(TYPED(sock, sk), __sk_common.skc_net.net),
						  ns.inum),
				    .port = bpf_ntohs(source_port(sk)) };
	struct listener *l = bpf_map_lookup_elem(&listeners, &key);
	__u64 at = (__u64)sk;
	struct sock_info *s = bpf_map_lookup_elem(&socks, &at);

	if (!l || !s || s->state != TCP_LISTEN)
		return;
	s->state = TCP_CLOSE;
	if (l->sockets <= 1) {
		bpf_map_delete_elem(&listeners, &key);
		return;
	}
	/* which of the others remains is not known: nobody is named until all are gone */
	l->sock = 0;
	__sync_fetch_and_sub(&l->sockets, 1);
}

static __always_inline void on_listen(struct sock *sk)
{
	struct sock_info s = { .cookie = cookie_of(sk), .fd = -1, .state = TCP_LISTEN };
	__u64 at = (__u64)sk;

	own(&s, ATTR_CACHED, fd_of_call(sk));
	bpf_map_delete_elem(&socks, &at);
	listening(sk, &s);
}

#endif /* FINWAIT_LISTENER_H */
