/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reading the kernel's memory: the cheapest way that this kernel allows. */
#ifndef FINWAIT_READ_H
#define FINWAIT_READ_H

/*
 * bpf_probe_read_kernel() is a call of 20 ns and more, for every field. Since 6.2
 * (a35b9af4ec2c "bpf: Add a kfunc for generic type cast") an address can be given a
 * type; fields are then read by plain loads. Both survive any address: where there is
 * nothing to read, the first fails, and the second reads 0.
 */
extern void *bpf_rdonly_cast(const void *address, __u32 type) __ksym __weak;

/*
 * The address `p` as a struct of that name, for READ(). Worth it for a hook's own argument
 * too, before pointers are read from it: what it points to is trusted, and to know whether
 * a field inherits the trust the verifier searches all types of the kernel, each time.
 */
#define TYPED(name, p)                                                                             \
	(have_cast ? (struct name *)bpf_rdonly_cast((p), bpf_core_type_id_kernel(struct name))     \
		   : (struct name *)(p))

/* p->field; `p` must be a hook's own argument, or from TYPED() or READ(). */
#define READ(p, field)                                                                             \
	({                                                                                         \
		typeof(p) from_ = (p);                                                             \
		typeof(from_->field) value_;                                                       \
		if (have_cast) {                                                                   \
			value_ = from_->field;                                                     \
		} else {                                                                           \
			typeof(from_->field) copy_;                                                \
			bpf_core_read((void *)&copy_, sizeof(copy_), &from_->field);               \
			value_ = copy_;                                                            \
		}                                                                                  \
		value_;                                                                            \
	})

/* Copies the 16 bytes of p->field, an array, to `to`. */
#define READ_16(to, p, field)                                                                      \
	({                                                                                         \
		typeof(p) from_ = (p);                                                             \
		if (have_cast) {                                                                   \
			((__u64 *)(to))[0] = *(__u64 *)&from_->field[0];                           \
			((__u64 *)(to))[1] = *(__u64 *)&from_->field[8];                           \
		} else {                                                                           \
			bpf_core_read((to), 16, &from_->field);                                    \
		}                                                                                  \
	})

/* The pointer that lies at `at`. */
static __always_inline void *read_pointer(void *at)
{
	void *p;

	if (have_cast) /* any struct that begins with a pointer does */
		return TYPED(hlist_node, at)->next;
	return bpf_probe_read_kernel(&p, sizeof(p), at) ? NULL : p;
}

#endif /* FINWAIT_READ_H */
