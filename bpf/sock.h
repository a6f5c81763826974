/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Addresses, namespace and filters: what can be read from any socket, full or mini. */
#ifndef FINWAIT_SOCK_H
#define FINWAIT_SOCK_H

#define AF_INET	    2
#define AF_INET6    10
#define AF_NETLINK  16
#define IPPROTO_TCP 6

/* The bytes 00 00 ff ff in front of an IPv4 address mapped into IPv6, as they lie in memory. */
#define V4_MAPPED bpf_htonl(0x0000ffff)

static __always_inline void set_v4(__u8 addr[16], __be32 v4)
{
	((__u64 *)addr)[0] = 0;
	((__u32 *)addr)[2] = V4_MAPPED;
	((__u32 *)addr)[3] = v4;
}

/* The local port, network order. skc_num is already 0 for accepted sockets at CLOSE. */
static __always_inline __be16 source_port(struct sock *sk)
{
	return READ(TYPED(inet_sock, sk), inet_sport);
}

static __always_inline bool is_v4_mapped(const __u8 addr[16])
{
	return ((const __u64 *)addr)[0] == 0 && ((const __u32 *)addr)[2] == V4_MAPPED;
}

/*
 * Fills in both addresses, both ports, the family and the namespace. `any` may be
 * a full socket, a request or a mini-socket: all begin with struct sock_common.
 * False for anything that is not IPv4 or IPv6.
 */
static __always_inline bool read_tuple(struct event *e, struct sock_common *any, __be16 sport)
{
	struct sock_common *skc = TYPED(sock_common, any);
	__u16 family = READ(skc, skc_family);

	if (family == AF_INET) {
		set_v4(e->local, READ(skc, skc_rcv_saddr));
		set_v4(e->peer, READ(skc, skc_daddr));
		e->family = 4;
	} else if (family == AF_INET6) {
		READ_16(e->local, skc, skc_v6_rcv_saddr.in6_u.u6_addr8);
		READ_16(e->peer, skc, skc_v6_daddr.in6_u.u6_addr8);
		e->family = is_v4_mapped(e->peer) ? 4 : 6;
	} else {
		return false;
	}
	e->local_port = bpf_ntohs(sport);
	e->peer_port = bpf_ntohs(READ(skc, skc_dport));
	e->netns = READ(READ(skc, skc_net.net), ns.inum);
	return true;
}

/*
 * The socket's cookie; made if there is none yet. Tracing programs may ask for it since
 * 5.12 (c5dbb89fc2ac "bpf: Expose bpf_get_socket_cookie to tracing programs"). Before, a
 * socket goes by a number of our own, see number(), for as long as `socks` remembers it.
 */
static __always_inline __u64 cookie_of(struct sock *sk)
{
	struct sock_info *s;
	__u64 key = (__u64)sk;

	if (have_cookie)
		return bpf_get_socket_cookie(sk);
	s = bpf_map_lookup_elem(&socks, &key);
	return s ? s->cookie : 0;
}

/* The same for hooks that may not call the helper: 0 if there is none yet. */
static __always_inline __u64 known_cookie(struct sock *sk)
{
	if (have_cookie)
		return READ(sk, __sk_common.skc_cookie.counter);
	return cookie_of(sk);
}

/*
 * A number for a socket on a kernel without cookies: the CPU, and when it was first seen
 * there. The kernel's own cookies are small numbers that count up; these have the top bit set.
 */
static __always_inline __u64 number(void)
{
	return 1ULL << 63 | (bpf_ktime_get_ns() & ((1ULL << 53) - 1)) << 10 |
	       (bpf_get_smp_processor_id() & 1023);
}

static __always_inline bool in_ports(__u16 port, const volatile __u16 range[2])
{
	return port >= range[0] && port <= range[1];
}

static __always_inline bool in_prefix(const __u8 addr[16], const volatile __u64 net[2],
				      const volatile __u64 mask[2])
{
	const __u64 *a = (const __u64 *)addr;

	return (a[0] & mask[0]) == net[0] && (a[1] & mask[1]) == net[1];
}

/* Do the filters want this connection, seen from either end? */
static __always_inline bool wanted(const struct event *e)
{
	if (!filter_on)
		return true;
	if (filter_netns && e->netns != filter_netns)
		return false;
	if (filter_family && e->family != filter_family)
		return false;
	if (in_ports(e->local_port, filter_local_port) &&
	    in_ports(e->peer_port, filter_peer_port) &&
	    in_prefix(e->local, filter_local_addr, filter_local_mask) &&
	    in_prefix(e->peer, filter_peer_addr, filter_peer_mask))
		return true;
	return in_ports(e->peer_port, filter_local_port) &&
	       in_ports(e->local_port, filter_peer_port) &&
	       in_prefix(e->peer, filter_local_addr, filter_local_mask) &&
	       in_prefix(e->local, filter_peer_addr, filter_peer_mask);
}

#endif /* FINWAIT_SOCK_H */
