/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One function per difference between kernels. Nothing here looks at a version number. */
#ifndef FINWAIT_COMPAT_H
#define FINWAIT_COMPAT_H

/*
 * struct file counted its references in f_count until 6.13, where
 * 90ee6ed776c0 ("fs: port files to file_ref") made it file_ref_t: the stored
 * number is the count less one, and a dead file has its top bits set.
 * Returns the count: 0 throughout __fput().
 */
static __always_inline long file_refs(struct file *file)
{
	struct file___ref *ref = (void *)file;
	long n;

	if (!bpf_core_field_exists(ref->f_ref))
		return READ(file, f_count.counter);
	n = READ(ref, f_ref.refcnt.counter);
	return n < 0 ? 0 : n + 1;
}

/*
 * struct sock_cgroup_data held a tagged word until 5.16, where
 * 8520e224f547 ("bpf, cgroups: Fix cgroup v2 fallback on v1/v2 mixed mode")
 * made it a plain pointer. The word's lowest bit set means: not a pointer.
 */
static __always_inline __u64 sock_cgroup_id(struct sock *sk)
{
	struct sock_cgroup_data___val *old = (void *)&sk->sk_cgrp_data;
	struct cgroup *cgroup;

	if (bpf_core_field_exists(sk->sk_cgrp_data.cgroup)) {
		cgroup = READ(TYPED(sock, sk), sk_cgrp_data.cgroup);
	} else {
		__u64 word = READ(old, val);

		if (word & 1)
			return 0;
		cgroup = (void *)word;
	}
	if (!cgroup)
		return 0;
	return READ(READ(cgroup, kn), id);
}

/*
 * A namespace that is being torn down has no references left; inet_twsk_purge()
 * makes the same test. The count moved from net.count to net.ns.count in 5.11
 * (9a56493f6942 "uts: Use generic ns_common::count" and its sisters) and is
 * ns.__ns_ref since 6.18.
 */
static __always_inline bool netns_is_dying(struct net *net)
{
	struct ns_common___ref *ref = (void *)&net->ns;
	struct net___count *old = (void *)net;

	if (!net)
		return false;
	if (bpf_core_field_exists(ref->__ns_ref))
		return READ(ref, __ns_ref.refs.counter) == 0;
	if (bpf_core_field_exists(net->ns.count))
		return READ(net, ns.count.refs.counter) == 0;
	if (bpf_core_field_exists(old->count))
		return READ(old, count.refs.counter) == 0;
	return false;
}

/*
 * When the mini-socket entered TIME_WAIT, CLOCK_MONOTONIC milliseconds, modulo
 * 2^32. Kept since 6.14 (19ce8cd30465 "tcp: Measure TIME-WAIT reuse delay with
 * millisecond precision"); 0 before.
 */
static __always_inline __u32 tw_entry_stamp(struct inet_timewait_sock *tw)
{
	struct inet_timewait_sock___stamp *stamped = (void *)tw;

	if (!bpf_core_field_exists(stamped->tw_entry_stamp))
		return 0;
	return READ(stamped, tw_entry_stamp);
}

/*
 * Does this namespace hold as many mini-sockets as it may? They were counted in
 * tw_count until 5.18, where fbb8295248e1 ("tcp: allocate tcp_death_row outside of
 * struct netns_ipv4") brought tw_refcount; 6.1 put it back inside.
 */
static __always_inline bool tw_table_is_full(struct net *net)
{
	struct inet_timewait_death_row___count *old = (void *)&net->ipv4.tcp_death_row;
	struct net___apart *apart = (void *)net;
	int max, n;

	if (bpf_core_field_exists(apart->ipv4.tcp_death_row)) {
		max = READ(READ(apart, ipv4.tcp_death_row), sysctl_max_tw_buckets);
		n = READ(READ(apart, ipv4.tcp_death_row), tw_refcount.refs.counter);
	} else if (bpf_core_field_exists(old->tw_count)) {
		max = READ(net, ipv4.tcp_death_row.sysctl_max_tw_buckets);
		n = READ(old, tw_count.counter);
	} else if (bpf_core_field_exists(net->ipv4.tcp_death_row.tw_refcount)) {
		max = READ(net, ipv4.tcp_death_row.sysctl_max_tw_buckets);
		n = READ(net, ipv4.tcp_death_row.tw_refcount.refs.counter);
	} else {
		return false;
	}
	/* a reference may be the table's own; one mini-socket may have gone since it was refused */
	return n >= max;
}

#if defined(__TARGET_ARCH_x86)
#define NR_CONNECT     42
#define NR_ACCEPT      43
#define NR_ACCEPT4     288
#define NR_PIDFD_GETFD 438
#define NR_CLOSE       3
#define NR_DUP	       32
#define NR_FCNTL       72
#define NR_DUP2	       33
#define NR_DUP3	       292
#define NR_SENDTO      44 /* sendto, recvfrom, sendmsg, recvmsg: only an owner makes them */
#define NR_RECVMSG     47
#define NR_EXECVE      59
#define NR_EXECVEAT    322
#elif defined(__TARGET_ARCH_arm64)
#define NR_CONNECT     203
#define NR_ACCEPT      202
#define NR_ACCEPT4     242
#define NR_PIDFD_GETFD 438
#define NR_CLOSE       57
#define NR_DUP	       23
#define NR_FCNTL       25
#define NR_DUP2	       NR_DUP3
#define NR_DUP3	       24
#define NR_SENDTO      206 /* and what lies between: only an owner makes these */
#define NR_RECVMSG     212
#define NR_EXECVE      221
#define NR_EXECVEAT    281
#else
#error "finwait knows the system call numbers of x86-64 and arm64 only"
#endif

#define NR_IO_URING_ENTER 426
#define NR_CLOSE_RANGE	  436

/*
 * Can this system call close a descriptor of its caller? A negative number is
 * execve() on arm64, which forgets its own number before close-on-exec takes effect.
 */
static __always_inline bool call_closes(long nr)
{
	return nr < 0 || nr == NR_CLOSE || nr == NR_CLOSE_RANGE || nr == NR_DUP2 || nr == NR_DUP3 ||
	       nr == NR_EXECVE || nr == NR_EXECVEAT || nr == NR_IO_URING_ENTER ||
	       (nr >= NR_SENDTO && nr <= NR_RECVMSG);
}

/*
 * The registers of current's system call. bpf_task_pt_regs() came with 5.15
 * (dd6e10fbd9fb "bpf: Add bpf_task_pt_regs() helper"); before it they lie, then as
 * now, at the top of the task's kernel stack: task_pt_regs() of both architectures.
 * Safe to read in any case; what they say is believed where it fits the socket.
 */
#define KERNEL_STACK (16 << 10)

static __always_inline struct pt_regs *current_regs(void)
{
	struct task_struct *task;

	if (have_task_regs)
		return (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	task = (struct task_struct *)bpf_get_current_task();
	return READ(task, stack) + KERNEL_STACK - bpf_core_type_size(struct pt_regs);
}

/* Does this system call copy a descriptor? dup2() and dup3() put theirs in without fd_install(). */
static __always_inline bool call_copies(long nr)
{
	return nr == NR_DUP || nr == NR_FCNTL;
}

/* The system call in `regs`, and its first argument. */
static __always_inline long regs_syscall(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return READ(regs, orig_ax);
#else
	return READ(regs, syscallno);
#endif
}

static __always_inline long regs_first_arg(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return READ(regs, di);
#else
	return READ(regs, orig_x0);
#endif
}

#endif /* FINWAIT_COMPAT_H */
