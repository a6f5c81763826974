/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whose socket is it?
 *
 * `current` is the owner only while a task makes a call on the socket. What is
 * learnt then (the task, and the descriptor it used) is kept in `socks`, and
 * before it is believed later, in somebody else's softirq, the descriptor table
 * of that task is asked whether it still holds this socket. A parent that
 * accepted and forked, or a process that passed the descriptor on and closed its
 * own, is thereby never named.
 *
 * The last close() of a file has one more catch: see may_close().
 */
#ifndef FINWAIT_OWNER_H
#define FINWAIT_OWNER_H

#define PF_EXITING   0x00000004
#define PF_IO_WORKER 0x00000010
#define PF_KTHREAD   0x00200000
#define S_IFMT	     00170000
#define S_IFSOCK     0140000

static __always_inline struct task_struct *current_task(void)
{
	return TYPED(task_struct, (void *)bpf_get_current_task());
}

/* The file behind descriptor `fd` of `task`, or NULL. Reads only; any number may be tried. */
static __always_inline struct file *file_of_fd(struct task_struct *task, int fd)
{
	struct files_struct *files = READ(task, files);
	struct fdtable *fdt = files ? READ(files, fdt) : NULL;

	if (!fdt || fd < 0 || (unsigned int)fd >= READ(fdt, max_fds))
		return NULL;
	return read_pointer(READ(fdt, fd) + fd);
}

/* The socket of a file, or NULL when the file is something else. */
static __always_inline struct sock *sock_of_file(struct file *any)
{
	struct file *file = TYPED(file, any);

	if (!any || (READ(READ(file, f_inode), i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	return READ(TYPED(socket, READ(file, private_data)), sk);
}

static __always_inline struct sock *sock_of_fd(struct task_struct *task, int fd)
{
	return sock_of_file(file_of_fd(task, fd));
}

/* Does descriptor `fd` of `task` refer to the socket's file? */
static __always_inline bool holds(struct task_struct *task, int fd, struct sock *sk)
{
	struct socket *socket = READ(TYPED(sock, sk), sk_socket);
	struct file *file = socket ? READ(socket, file) : NULL;

	return file && file_of_fd(task, fd) == file;
}

/* The descriptor that current's system call works on, when it is this socket's; -1 if not. */
static __always_inline int fd_of_call(struct sock *sk)
{
	int fd = regs_first_arg(current_regs());

	return holds(current_task(), fd, sk) ? fd : -1;
}

/* Fills in `o` from `task`; `comm` is the leader's, whichever thread calls. */
static __always_inline struct task_struct *read_task(struct owner *o, struct task_struct *task)
{
	struct task_struct *leader = READ(task, group_leader);

	o->start_ns = READ(leader, start_boottime);
	o->tgid = READ(task, tgid);
	o->tid = READ(task, pid);
	o->uid = READ(READ(task, cred), uid.val);
	o->exit_code = READ(task, exit_code);
	READ_16(o->comm, leader, comm);
	READ_16(o->thread, task, comm);
	return leader;
}

/*
 * Makes current the owner. False when current cannot be one: a kernel thread
 * that runs a deferred close, for instance. io_uring's workers are threads of
 * the process they work for.
 */
static __always_inline bool own(struct sock_info *s, __u8 attribution, int fd)
{
	struct task_struct *task = current_task();
	__u32 flags = READ(task, flags);

	if ((flags & PF_KTHREAD) && !(flags & PF_IO_WORKER))
		return false;
	s->leader = (__u64)read_task(&s->owner, task);
	s->attribution = attribution;
	s->fd = fd;
	return true;
}

/*
 * A file is released by whoever drops its last reference, and that need not be
 * who closed the descriptor: a process that looks another one's descriptors up
 * (/proc/PID/fd, /proc/PID/fdinfo, kcmp(), a BPF iterator) or that shares an
 * epoll instance with it holds the file for a moment. So a task that was not
 * the owner before must be in a system call that closes descriptors.
 */
static __always_inline bool may_close(const struct sock_info *s)
{
	struct task_struct *task = current_task();

	if (s->attribution && READ(task, tgid) == s->owner.tgid)
		return true;
	if (READ(task, flags) & (PF_EXITING | PF_IO_WORKER))
		return true;
	return call_closes(regs_syscall(current_regs()));
}

/*
 * Does the remembered owner still hold the socket? Safe if its task is long gone:
 * no task_struct is freed while a program runs. It may go by another name by now.
 */
static __always_inline bool still_holds(struct sock_info *s, struct sock *sk)
{
	struct task_struct *leader = TYPED(task_struct, (void *)s->leader);

	if (!s->leader || s->fd < 0)
		return false;
	if (READ(leader, tgid) != s->owner.tgid ||
	    READ(leader, start_boottime) != s->owner.start_ns)
		return false;
	if (!holds(leader, s->fd, sk))
		return false;
	s->owner.uid = READ(READ(leader, cred), uid.val);
	READ_16(s->owner.comm, leader, comm);
	if (s->owner.tid == s->owner.tgid)
		__builtin_memcpy(s->owner.thread, s->owner.comm, sizeof(s->owner.thread));
	return true;
}

#endif /* FINWAIT_OWNER_H */
