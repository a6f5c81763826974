/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The only way out of the kernel. */
#ifndef FINWAIT_EMIT_H
#define FINWAIT_EMIT_H

/*
 * Copies one record into the ring. The reader is woken only when there is
 * enough to read: a wakeup costs several times what the record does, and the
 * reader comes by itself every few tens of milliseconds.
 * Safe in any context, the timer base's lock included: a wakeup is deferred
 * through irq_work.
 */
static __always_inline void emit(struct event *e, const struct owner *owner)
{
	struct owned_event *full;
	struct event *plain;
	__u64 wake = BPF_RB_NO_WAKEUP;

	if (bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wake_bytes)
		wake = BPF_RB_FORCE_WAKEUP;
	if (owner) {
		e->flags |= EVENT_OWNER;
		full = bpf_ringbuf_reserve(&events, sizeof(*full), 0);
		if (!full) {
			count(COUNT_RING_FULL);
			return;
		}
		full->event = *e;
		full->owner = *owner;
		bpf_ringbuf_submit(full, wake);
	} else {
		plain = bpf_ringbuf_reserve(&events, sizeof(*plain), 0);
		if (!plain) {
			count(COUNT_RING_FULL);
			return;
		}
		*plain = *e;
		bpf_ringbuf_submit(plain, wake);
	}
	count(COUNT_EVENTS);
}

#endif /* FINWAIT_EMIT_H */
