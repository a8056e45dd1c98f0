/*
 * ops_kinds.h: compiles the handlers of OPS_FILE once for each kind of address (ops.h). Included
 * once by each interp_fast*.c that has memory operands; no include guard on purpose.
 *
 *   K(name)               the handler's name for this kind
 *   EA(bytes, write)      the linear address
 *   LD(var, at, bits, name)       var = memory, or the slow handler of NAME
 *   ST(at, val, bits, name)       memory = val, or the slow handler
 *   UPD(var, at, bits, name)      like LD, but the memory can then be written without a fault by
 *   PUT(at, val, bits)
 */
/* slow */
#define K(name) name##_s
#define EA(bytes, write) ea_s(cpu, op, (bytes), (write))
#define LD(var, at, bits, name) var = mem_read(cpu, at, (bits) / 8)
#define ST(at, val, bits, name) mem_write(cpu, at, val, (bits) / 8)
#define UPD(var, at, bits, name)                                                                   \
    mem_probe_write(cpu, at, (bits) / 8);                                                          \
    var = mem_read(cpu, at, (bits) / 8)
#define PUT(at, val, bits) mem_write(cpu, at, val, (bits) / 8)
#include OPS_FILE
#undef K
#undef EA
#undef LD
#undef ST
#undef UPD
#undef PUT

/* fast: the three kinds differ in EA only */
#define LD(var, at, bits, name)                                                                    \
    const uint8_t *ld_ = tlb_host_r(cpu, at, (bits) / 8);                                          \
    if (UNLIKELY(!ld_))                                                                            \
        CALL_OP(name##_s);                                                                         \
    var = host_load(ld_, (bits) / 8)
#define ST(at, val, bits, name)                                                                    \
    uint8_t *st_ = tlb_host_w(cpu, at, (bits) / 8);                                                \
    if (UNLIKELY(!st_))                                                                            \
        CALL_OP(name##_s);                                                                         \
    host_store(st_, val, (bits) / 8)
#define UPD(var, at, bits, name)                                                                   \
    uint8_t *upd_ = tlb_host_w(cpu, at, (bits) / 8);                                               \
    if (UNLIKELY(!upd_))                                                                           \
        CALL_OP(name##_s);                                                                         \
    var = host_load(upd_, (bits) / 8)
#define PUT(at, val, bits) host_store(upd_, val, (bits) / 8)

#define K(name) name##_b
#define EA(bytes, write) ea_b(cpu, op)
#include OPS_FILE
#undef K
#undef EA
#define K(name) name##_f
#define EA(bytes, write) ea_f(cpu, op)
#include OPS_FILE
#undef K
#undef EA
#define K(name) name##_d
#define EA(bytes, write) ea_d(cpu, op)
#include OPS_FILE
#undef K
#undef EA
#undef LD
#undef ST
#undef UPD
#undef PUT

#define BY_KIND(name) { [KIND_B] = name##_b, [KIND_F] = name##_f, [KIND_D] = name##_d,             \
                        [KIND_S] = name##_s }
