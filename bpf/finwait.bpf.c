//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The hooks. Each entry says who calls it, in what context and under what
 * locks; the work is in the headers.
 *
 * A tracing program that is interrupted on its CPU by a softirq which hits the
 * same hook is skipped there, silently. So hooks that can be interrupted come
 * twice: the second instance, *_again, runs after the first, sees that the work
 * is done, and returns; where the first was skipped, it does the work.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#include "event.h"
#include "maps.h"
#include "read.h"
#include "compat.h"
#include "emit.h"
#include "sock.h"
#include "owner.h"
#include "listener.h"
#include "transition.h"
#include "timewait.h"
#include "snapshot.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * inet_sk_set_state() and inet_sk_state_store(): every state change of a full
 * TCP socket, in the caller's context or in softirq, the socket locked.
 * All kernels since 4.16.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, int old, int new)
{
	struct cpu_info *cpu = this_cpu();

	if (sk->sk_protocol != IPPROTO_TCP || !cpu)
		return 0;
	cpu->state_sock = 0;
	for (__u32 i = 0; i < drag; i++)
		bpf_ktime_get_ns();
	step(sk, old, new);
	cpu->state_sock = (__u64)sk;
	cpu->state_step = old << 8 | new;
	return 0;
}

/*
 * The map remembers the state that the first instance saw, and a socket's steps
 * are serialised by its lock: so "is the map at this step already" is an exact
 * test, wherever the interruption fell. The per-CPU note only makes it cheap.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state_again, struct sock *sk, int old, int new)
{
	struct cpu_info *cpu = this_cpu();
	struct sock_info *s;
	__u64 key = (__u64)sk;

	if (sk->sk_protocol != IPPROTO_TCP || !cpu)
		return 0;
	if (cpu->state_sock == key && cpu->state_step == (old << 8 | new)) {
		cpu->state_sock = 0;
		return 0;
	}
	s = bpf_map_lookup_elem(&socks, &key);
	if (s && s->state == new)
		return 0;
	count(COUNT_STATE_AGAIN);
	step(sk, old, new);
	return 0;
}

/*
 * tcp_v4_destroy_sock(): the end of every TCP socket, in the context of the last
 * close() or, for orphans, in softirq; the socket locked either way.
 */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_destroy, struct sock *sk)
{
	struct cpu_info *cpu = this_cpu();

	if (!cpu)
		return 0;
	cpu->destroyed = 0;
	forget(sk);
	cpu->destroyed = (__u64)sk;
	return 0;
}

/* Forgetting twice does no harm, so this needs no other test. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_destroy_again, struct sock *sk)
{
	struct cpu_info *cpu = this_cpu();

	if (!cpu)
		return 0;
	if (cpu->destroyed == (__u64)sk) {
		cpu->destroyed = 0;
		return 0;
	}
	count(COUNT_DESTROY_AGAIN);
	forget(sk);
	return 0;
}

/* Current has been given a descriptor of `sk`: if it is a socket that we know, current owns it. */
static __always_inline void took(struct sock *sk, int fd)
{
	__u64 key = (__u64)sk;
	struct sock_info *s;

	if (!sk)
		return;
	s = bpf_map_lookup_elem(&socks, &key);
	if (!s || (s->flags & SOCK_FINAL) || (s->cookie && s->cookie != known_cookie(sk)))
		return;
	own(s, ATTR_CACHED, fd);
}

#define EADDRNOTAVAIL 99

/* Current's connect() found no local port, or not the one that it was told to use. */
static __always_inline void no_address(struct sock *sk, int fd, __u16 errno)
{
	struct event e = { .kind = EVENT_CONNECT_ERROR, .error = errno };
	__u64 key = (__u64)sk;
	struct sock_info *s;

	if (!sk)
		return;
	s = bpf_map_lookup_elem(&socks, &key);
	if (!s || !read_tuple(&e, &sk->__sk_common, source_port(sk)))
		return;
	e.ktime = bpf_ktime_get_ns();
	e.cookie = s->cookie;
	e.sock = key;
	e.attribution = ATTR_EXACT;
	if (own(s, ATTR_CACHED, fd))
		emit(&e, &s->owner);
}

/* Every system call's return, in the caller's context. Used where fd_install cannot be hooked. */
SEC("tp_btf/sys_exit")
int BPF_PROG(on_sys_exit, struct pt_regs *regs, long ret)
{
#if defined(__TARGET_ARCH_x86)
	long nr = regs->orig_ax;
#else
	long nr = regs->syscallno;
#endif

	if (nr == NR_ACCEPT4 || nr == NR_ACCEPT || nr == NR_PIDFD_GETFD) {
		if (ret >= 0)
			took(sock_of_fd(current_task(), ret), ret);
	} else if (nr == NR_CONNECT && ret == -EADDRNOTAVAIL) {
		int fd = regs_first_arg(regs);

		no_address(sock_of_fd(current_task(), fd), fd, EADDRNOTAVAIL);
	}
	return 0;
}

/* tcp_v4_connect() asks for a local port and a free 4-tuple: the caller's context, the socket locked. */
SEC("fexit/inet_hash_connect")
int BPF_PROG(on_hash_connect, void *death_row, struct sock *sk, int ret)
{
	if (ret == -EADDRNOTAVAIL && READ(sk, sk_protocol) == IPPROTO_TCP)
		no_address(sk, fd_of_call(sk), EADDRNOTAVAIL);
	return 0;
}

/* The same of tcp_v6_connect(). */
SEC("fexit/inet6_hash_connect")
int BPF_PROG(on_hash_connect6, void *death_row, struct sock *sk, int ret)
{
	if (ret == -EADDRNOTAVAIL && READ(sk, sk_protocol) == IPPROTO_TCP)
		no_address(sk, fd_of_call(sk), EADDRNOTAVAIL);
	return 0;
}

/*
 * Does a new descriptor of current's make it the owner? A copy does not, as long as
 * the owner still has the one that it was seen with: whoever starts a program copies
 * the descriptors that it is to have, in the new process, before it is that program.
 */
static __always_inline bool takes(struct sock_info *s, struct sock *sk, int fd)
{
	if (s->owner.tgid == bpf_get_current_pid_tgid() >> 32 && s->fd == fd)
		return false;
	return !(s->attribution && call_copies(regs_syscall(current_regs())) && still_holds(s, sk));
}

/*
 * A process is given a descriptor: accept() in all its forms, one received over a
 * Unix socket, pidfd_getfd(), a copy. In the receiver's context, before its system
 * call returns.
 */
static __always_inline void installed(unsigned int fd, struct file *file, bool again)
{
	struct sock *sk = sock_of_file(file);
	__u64 key = (__u64)sk;
	struct sock_info *s;

	if (!sk)
		return;
	s = bpf_map_lookup_elem(&socks, &key);
	if (!s || !takes(s, sk, fd))
		return;
	if (again)
		count(COUNT_ACCEPT_AGAIN);
	took(sk, fd);
}

SEC("fentry/fd_install")
int BPF_PROG(on_fd_install, unsigned int fd, struct file *file)
{
	installed(fd, file, false);
	return 0;
}

/*
 * fentry programs can be preempted, and are skipped when another task on the CPU gets
 * here meanwhile. Owning twice does no harm, so the second instance only looks whether
 * there is anything left to do.
 */
SEC("fentry/fd_install")
int BPF_PROG(on_fd_install_again, unsigned int fd, struct file *file)
{
	installed(fd, file, true);
	return 0;
}

#define IORING_OP_ACCEPT 13

/*
 * io_uring posts a completion: accept() without a system call of its own, in a
 * task of the process that owns the ring. The arguments changed in 6.15.
 */
SEC("tp_btf/io_uring_complete")
int BPF_PROG(on_uring_cqe, void *ctx_, void *req, struct io_uring_cqe *cqe)
{
	if (!req || READ(TYPED(io_kiocb, req), opcode) != IORING_OP_ACCEPT)
		return 0;
	if (cqe->res >= 0)
		took(sock_of_fd(current_task(), cqe->res), cqe->res);
	return 0;
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(on_uring_res, void *ctx_, void *req, __u64 user_data, int res)
{
	if (!req || READ(TYPED(io_kiocb, req), opcode) != IORING_OP_ACCEPT)
		return 0;
	if (res >= 0)
		took(sock_of_fd(current_task(), res), res);
	return 0;
}

/* The timer probe: tracepoints only. */

#define timer_owner(timer, type, member)                                                           \
	TYPED(type, (void *)(timer)-bpf_core_field_offset(struct type, member))

/*
 * enqueue_timer(), under the timer base's lock with interrupts off: nothing can
 * interrupt this program, so it needs no second instance. Called for every timer
 * of the machine; all but two functions leave at once.
 */
SEC("tp_btf/timer_start")
int BPF_PROG(on_timer_start, struct timer_list *timer, unsigned long bucket)
{
	__u64 fn = (__u64)timer->function;

	if (fn == tw_timer_fn)
		tw_armed(timer_owner(timer, inet_timewait_sock, tw_timer), bucket, 0);
	else if (fn == reqsk_timer_fn)
		tw_reopened(timer_owner(timer, request_sock, rsk_timer));
	return 0;
}

/* detach_timer(), under the same lock: before an expiry, an early end, or a re-arm. */
SEC("tp_btf/timer_cancel")
int BPF_PROG(on_timer_cancel, struct timer_list *timer)
{
	if ((__u64)timer->function == tw_timer_fn)
		tw_dead(timer_owner(timer, inet_timewait_sock, tw_timer), TW_UNKNOWN);
	return 0;
}

/* kfree_skb_reason() and friends: a packet is dropped, in any context. */
static __always_inline bool dropped_by_tcp(__u64 at)
{
	return (at >= rcv4_start && at < rcv4_end) || (at >= rcv6_start && at < rcv6_end);
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(on_drop, struct sk_buff *skb, void *location, int reason, struct sock *sk)
{
	struct cpu_info *cpu;

	if (!dropped_by_tcp((__u64)location))
		return 0;
	cpu = this_cpu();
	if (!cpu)
		return 0;
	cpu->dropped = 0;
	tw_segment(skb, sk);
	cpu->dropped = (__u64)skb;
	return 0;
}

/* A segment reported twice does no harm: the second report changes nothing. */
SEC("tp_btf/kfree_skb")
int BPF_PROG(on_drop_again, struct sk_buff *skb, void *location, int reason, struct sock *sk)
{
	struct cpu_info *cpu;

	if (!dropped_by_tcp((__u64)location))
		return 0;
	cpu = this_cpu();
	if (!cpu)
		return 0;
	if (cpu->dropped == (__u64)skb) {
		cpu->dropped = 0;
		return 0;
	}
	count(COUNT_DROP_AGAIN);
	tw_segment(skb, sk);
	return 0;
}

/* The same for kernels whose tracepoint does not name the socket. */
SEC("tp_btf/kfree_skb")
int BPF_PROG(on_drop_skb, struct sk_buff *skb, void *location)
{
	if (dropped_by_tcp((__u64)location))
		tw_segment(skb, NULL);
	return 0;
}

/* The fentry probe. */

/* tcp_time_wait() -> inet_twsk_alloc(), BH off; NULL when tcp_max_tw_buckets or memory forbids. */
SEC("fexit/inet_twsk_alloc")
int BPF_PROG(on_tw_alloc, struct sock *sk, void *dr, int state, struct inet_timewait_sock *tw)
{
	struct event e = { .kind = EVENT_TW_ARMED };

	e.ktime = bpf_ktime_get_ns();
	if (!read_tuple(&e, &sk->__sk_common, source_port(sk)) || !wanted(&e))
		return 0;
	e.cookie = cookie_of(sk);
	e.sock = (__u64)tw;
	e.new_state = state;
	e.jiffies = bpf_jiffies64();
	if (!tw)
		e.kind = EVENT_TW_REFUSED;
	emit(&e, NULL);
	return 0;
}

/* inet_twsk_reschedule(): a segment turned FIN_WAIT2 into TIME_WAIT or restarted the minute. Softirq. */
SEC("fexit/__inet_twsk_schedule")
int BPF_PROG(on_tw_schedule, struct inet_timewait_sock *tw, int timeo, bool rearm)
{
	/* the caller need not clear the register's upper bits */
	if ((__u8)(__u64)rearm)
		tw_armed(tw, 0, EVENT_REQUEUED);
	return 0;
}

/* Every death: tw_timer_handler() and inet_twsk_deschedule_put() both end here. */
SEC("fentry/inet_twsk_kill")
int BPF_PROG(on_tw_kill, struct inet_timewait_sock *tw)
{
	struct cpu_info *cpu = this_cpu();
	__u8 reason = TW_UNKNOWN;

	if (cpu && cpu->packet_tw == (__u64)tw) {
		reason = cpu->packet_reason;
		cpu->packet_tw = 0;
	}
	tw_dead(tw, reason);
	return 0;
}

/* A segment meets a mini-socket, softirq. If it dies in here, an RST did it. */
SEC("fentry/tcp_timewait_state_process")
int BPF_PROG(on_tw_packet, struct inet_timewait_sock *tw)
{
	struct cpu_info *cpu = this_cpu();

	if (cpu) {
		cpu->packet_tw = (__u64)tw;
		cpu->packet_reason = TW_RESET;
	}
	return 0;
}

#define TCP_TW_SYN 3

/* The return value moved with the arguments: 3 until 6.1, 4 in 6.12, 5 since 6.14. */
static __always_inline int tw_packet_done(int status)
{
	struct cpu_info *cpu = this_cpu();

	if (!cpu)
		return 0;
	if (status == TCP_TW_SYN)
		cpu->packet_reason = TW_SYN; /* tcp_v4_rcv() ends it next */
	else
		cpu->packet_tw = 0;
	return 0;
}

SEC("fexit/tcp_timewait_state_process")
int BPF_PROG(on_tw_packet_done3, void *tw, void *skb, void *th, int status)
{
	return tw_packet_done(status);
}

SEC("fexit/tcp_timewait_state_process")
int BPF_PROG(on_tw_packet_done4, void *tw, void *skb, void *th, void *isn, int status)
{
	return tw_packet_done(status);
}

SEC("fexit/tcp_timewait_state_process")
int BPF_PROG(on_tw_packet_done5, void *tw, void *skb, void *th, void *isn, void *why, int status)
{
	return tw_packet_done(status);
}

/* Attached to nothing: loading it tells whether this host allows fentry at all. */
SEC("fentry/inet_twsk_alloc")
int BPF_PROG(try_fentry)
{
	return 0;
}

/* Iterators, run once at the start and when the picture has to be made whole again. */

static __always_inline void see_tw(struct bpf_iter__tcp *ctx, struct inet_timewait_sock *tw)
{
	struct event e = { .kind = EVENT_TW_SEEN };

	e.ktime = bpf_ktime_get_ns();
	if (read_tw(&e, tw))
		bpf_seq_write(ctx->meta->seq, &e, sizeof(e));
}

#define E2BIG 7

/*
 * One socket of the reader's network namespace, in process context. A live one is
 * entered into `socks`, so that its later events find it; both kinds are reported.
 */
SEC("iter/tcp")
int each_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct event e = { .kind = EVENT_SOCK_SEEN };
	struct sock_info *s, fresh = { .fd = -1 };
	struct tcp_sock *tp;
	struct sock *sk;
	__u64 key;
	long err;

	if (!skc)
		return 0;
	if (skc->skc_state == TCP_TIME_WAIT) {
		see_tw(ctx, TYPED(inet_timewait_sock, skc));
		return 0;
	}
	if (skc->skc_state == TCP_NEW_SYN_RECV)
		return 0;
	tp = bpf_skc_to_tcp_sock(skc);
	if (!tp)
		return 0;
	sk = (struct sock *)tp;
	fresh.state = skc->skc_state;
	fresh.cookie = cookie_of(sk);
	if (fresh.state == TCP_LISTEN) {
		listening(sk, &fresh);
		return 0;
	}
	e.ktime = bpf_ktime_get_ns();
	if (!read_tuple(&e, skc, source_port(sk)) || !wanted(&e))
		return 0;
	key = (__u64)sk;
	s = bpf_map_lookup_elem(&socks, &key);
	if (s && s->role)
		return 0; /* not older than the trace: its handshake was seen */
	fresh.state = skc->skc_state;
	if (!have_cookie && !fresh.cookie)
		fresh.cookie = number();
	err = bpf_map_update_elem(&socks, &key, &fresh, BPF_NOEXIST);
	if (err == -E2BIG)
		count(COUNT_MAP_FULL);
	if (!err || have_cookie)
		e.cookie = fresh.cookie;
	else
		e.cookie = cookie_of(sk);
	e.sock = key;
	e.cgroup = sock_cgroup_id(sk);
	e.new_state = skc->skc_state;
	bpf_seq_write(ctx->meta->seq, &e, sizeof(e));
	return 0;
}

/* One descriptor of one process: the owner of a socket that is older than the tracer. */
SEC("iter/task_file")
int each_file(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct sock_info *s;
	__u64 key;

	if (!task || !file)
		return 0;
	key = (__u64)sock_of_file(file);
	s = bpf_map_lookup_elem(&socks, &key);
	if (!s || s->attribution)
		return 0;
	s->leader = (__u64)read_task(&s->owner, task);
	s->owner.tid = s->owner.tgid;
	s->fd = ctx->fd;
	s->attribution = ATTR_SEEDED;
	return 0;
}

/* The snapshot: nothing is traced, nothing is remembered. */

/* One socket of the reader's network namespace, in process context. */
SEC("iter/tcp")
int list_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct seen s = {};
	struct tcp_sock *tp;

	if (!skc || skc->skc_state == TCP_NEW_SYN_RECV)
		return 0;
	if (skc->skc_state == TCP_TIME_WAIT) {
		if (see_mini(&s, (struct inet_timewait_sock *)skc))
			bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
		return 0;
	}
	tp = bpf_skc_to_tcp_sock(skc);
	if (!tp)
		return 0;
	/* a cookie now: it tells two sockets apart that follow each other at one address */
	if (have_cookie)
		bpf_get_socket_cookie((struct sock *)tp);
	if (see_sock(&s, (struct sock *)tp))
		bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}

/* One descriptor of one process, when it is a TCP socket's; a bound one that nobody listens on included. */
SEC("iter/task_file")
int list_held(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct held h = { .fd = ctx->fd };
	struct socket *socket;
	struct sock *sk;

	if (!task || !file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = file->private_data;
	sk = BPF_CORE_READ(socket, sk);
	if (!sk || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP ||
	    BPF_CORE_READ(sk, sk_type) != SOCK_STREAM || !see_sock(&h.seen, sk))
		return 0;
	read_task(&h.owner, task);
	h.owner.tid = h.owner.tgid;
	bpf_seq_write(ctx->meta->seq, &h, sizeof(h));
	return 0;
}

/*
 * Attached to nothing: user space runs it (BPF_PROG_TEST_RUN) to ask what has become of a
 * socket that it knows by address and cookie. Memory of sockets is used again, and for
 * other things: only a live object with this very cookie is the one. Returns its state; of
 * a mini-socket the substate in the second byte; 0 when it is gone.
 */
SEC("raw_tp")
int look(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock_common *skc = (void *)ctx->args[0];
	struct inet_timewait_sock *tw = (void *)skc;
	__u64 cookie = ctx->args[1];
	__u8 state;

	if (!cookie || (__u64)BPF_CORE_READ(skc, skc_cookie.counter) != cookie ||
	    BPF_CORE_READ(skc, skc_refcnt.refs.counter) <= 0)
		return 0;
	state = BPF_CORE_READ(skc, skc_state);
	return state == TCP_TIME_WAIT ? BPF_CORE_READ(tw, tw_substate) << 8 | state : state;
}
