/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The only way out of the kernel. */
#ifndef FINWAIT_EMIT_H
#define FINWAIT_EMIT_H

/*
 * Should this record wake the reader? Only the one that fills the ring beyond
 * wake_bytes: a wakeup costs far more than the record, above all in a virtual machine,
 * where it leaves the guest, and the reader comes by itself every few tens of
 * milliseconds. Each CPU asks once, until it finds the ring emptied.
 */
static __always_inline __u64 wakeup(void)
{
	__u64 waiting = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
	struct cpu_info *cpu = this_cpu();

	if (!cpu)
		return BPF_RB_NO_WAKEUP;
	if (waiting < wake_bytes) {
		cpu->woken = 0;
		return BPF_RB_NO_WAKEUP;
	}
	if (cpu->woken)
		return BPF_RB_NO_WAKEUP;
	cpu->woken = 1;
	return BPF_RB_FORCE_WAKEUP;
}

/*
 * Copies one record into the ring. Safe in any context, the timer base's lock included:
 * a wakeup is deferred through irq_work.
 */
static __noinline void emit(struct event *e, const struct owner *owner)
{
	struct owned_event *full;
	struct event *plain;
	__u64 wake = wakeup();

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
