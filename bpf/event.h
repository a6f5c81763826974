/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The wire between the kernel programs and the Go decoder (tracer/decode.go).
 *
 * One fixed record, native byte order, followed by struct owner when, and only
 * when, EVENT_OWNER is set in flags. Change a field here and the decoder's
 * offsets, its tests and testdata/ change with it.
 */
#ifndef FINWAIT_EVENT_H
#define FINWAIT_EVENT_H

enum event_kind {
	EVENT_TRANSITION = 1, /* one step of sock:inet_sock_set_state */
	EVENT_TW_ARMED,	  /* a mini-socket's timer was set: birth, re-arm or change of substate */
	EVENT_TW_DEAD,	  /* a mini-socket's timer was taken off: expiry, early end, or re-arm */
	EVENT_TW_WHY,	  /* evidence, just after EVENT_TW_DEAD, for why it ended */
	EVENT_TW_REFUSED, /* no mini-socket could be made (fentry probe only) */
	EVENT_TW_SEEN,	  /* a mini-socket that existed when tracing began */
	EVENT_SOCK_SEEN,  /* a socket that existed when tracing began */
	EVENT_RELEASE,	  /* the last descriptor of a socket that was already dead went away */
	EVENT_CONNECT_ERROR, /* connect() failed before a packet left */
};

/* How the process in struct owner is known. */
enum attribution {
	ATTR_NONE = 0,
	ATTR_EXACT,  /* it is making this very call */
	ATTR_CACHED, /* it made an earlier call, and still holds the socket */
	ATTR_SEEDED, /* it held the descriptor when tracing began, and still does */
};

enum role {
	ROLE_UNKNOWN = 0,
	ROLE_CLIENT,
	ROLE_SERVER,
};

/* Why a mini-socket ended, as far as the kernel side can tell. */
enum tw_reason {
	TW_UNKNOWN = 0,
	TW_EXPIRED,
	TW_CONNECT,
	TW_SYN,
	TW_RESET,
	TW_NETNS,
};

enum event_flags {
	EVENT_OWNER = 1 << 0, /* struct owner follows */
	EVENT_CALL =
		1
		<< 1, /* made by a local call, in the caller's context; by ss -K for a mini-socket */
	EVENT_EXITING = 1 << 2,	    /* the caller was exiting */
	EVENT_ORPHAN = 1 << 3,	    /* no descriptor refers to the socket (SOCK_DEAD) */
	EVENT_CLOSING = 1 << 4,	    /* the file's last reference is gone: close(), not shutdown() */
	EVENT_LINGER0 = 1 << 5,	    /* SO_LINGER is on with a time of 0 */
	EVENT_SHUT_BOTH = 1 << 6,   /* both directions are shut */
	EVENT_TIMESTAMPS = 1 << 7,  /* the connection negotiated TCP timestamps */
	EVENT_LINGER2 = 1 << 8,	    /* TCP_LINGER2 is negative: no FIN_WAIT2 for orphans */
	EVENT_REQUEUED = 1 << 9,    /* the mini-socket is already in the hash: not a birth */
	EVENT_FULL = 1 << 10,	    /* the namespace has tcp_max_tw_buckets mini-sockets */
	EVENT_UNACCEPTED = 1 << 11, /* nobody has accepted the connection yet */
};

struct owner {
	__u64 start_ns; /* start of the thread-group leader, CLOCK_BOOTTIME */
	__u32 tgid;	/* in the initial pid namespace */
	__u32 tid;
	__u32 uid;	 /* in the initial user namespace */
	__u32 exit_code; /* task_struct.exit_code: the low 7 bits are a signal */
	__u8 comm[16];	 /* of the thread-group leader */
	__u8 thread[16]; /* of the thread that made the call */
};

struct event {
	__u64 ktime;  /* CLOCK_MONOTONIC, ns */
	__u64 cookie; /* socket cookie; 0 where the kernel has none */
	__u64 sock;   /* address of the sock or of the mini-socket: an identity, never shown */
	__u64 cgroup; /* cgroup v2 id of the socket; 0 unknown */
	union {
		struct {
			__u64 since;	      /* ktime at which old_state began; 0 unknown */
			__u64 established;    /* ktime of the handshake's end; 0 unknown */
			__u64 bytes_sent;     /* payload, retransmissions not counted */
			__u64 bytes_received; /* payload */
		};
		struct {
			__u64 expires;	 /* the timer's expiry, jiffies; 0 unknown */
			__u64 jiffies;	 /* now, jiffies */
			__u64 successor; /* cookie of the socket that took the 4-tuple over */
			__u64 bucket; /* expiry as the timer wheel will serve it, jiffies; 0 unknown */
		};
	};
	__u8 local[16]; /* IPv6, or IPv4 mapped into it */
	__u8 peer[16];
	__u32 netns; /* inode number of the network namespace */
	__u32 aux; /* transition: jiffies since the last data either way; mini-socket: entry stamp, ms */
	__u32 unread; /* bytes received and not read by the application */
	__u32 flags;  /* enum event_flags */
	__u16 local_port;
	__u16 peer_port;
	__u16 error; /* sk_err, or the errno of connect() */
	__u8 kind;   /* enum event_kind */
	__u8 family; /* 4 or 6; v4-mapped counts as 4 */
	__u8 old_state;
	__u8 new_state; /* of a mini-socket: its substate */
	__u8 attribution;
	__u8 role;
	__u8 reason; /* enum tw_reason */
	__u8 pad[3];
};

struct owned_event {
	struct event event;
	struct owner owner;
};

_Static_assert(sizeof(struct owner) == 56, "struct owner is part of the wire");
_Static_assert(sizeof(struct event) == 128, "struct event is part of the wire");
_Static_assert(sizeof(struct owned_event) == 184, "struct owned_event is part of the wire");

/* Why a fact was lost, or what is worth counting. Indices into the map `counters`. */
enum counter {
	COUNT_EVENTS = 0,  /* records handed to the ring */
	COUNT_RING_FULL,   /* records that found no room in the ring */
	COUNT_MAP_FULL,	   /* sockets that found no room in the map `socks` */
	COUNT_STATE_AGAIN, /* interrupted set_state events that the second program picked up */
	COUNT_DESTROY_AGAIN,
	COUNT_DROP_AGAIN,
	COUNT_ACCEPT_AGAIN,
	COUNT_MAX,
};

#endif /* FINWAIT_EVENT_H */
