/* ops_move.h: loads and stores; compiled by ops_kinds.h for interp_fast_move.c. */
#define LOAD(name, bits, to, val)                                                                  \
    HANDLER(K(name))                                                                               \
    {                                                                                              \
        uint64_t v, at = EA((bits) / 8, 0);                                                        \
        LD(v, at, bits, name);                                                                     \
        reg_set(cpu, op->r, val, to);                                                              \
        NEXT;                                                                                      \
    }
LOAD(ld8, 8, 8, v)
LOAD(ld16, 16, 16, v)
LOAD(ld32, 32, 64, v)
LOAD(ld64, 64, 64, v)
LOAD(zx8_16, 8, 16, v)
LOAD(zx8_64, 8, 64, v)
LOAD(zx16_64, 16, 64, v)
LOAD(sx8_16, 8, 16, sign_extend(v, 8))
LOAD(sx8_32, 8, 32, sign_extend(v, 8))
LOAD(sx8_64, 8, 64, sign_extend(v, 8))
LOAD(sx16_32, 16, 32, sign_extend(v, 16))
LOAD(sx16_64, 16, 64, sign_extend(v, 16))
LOAD(sx32_64, 32, 64, sign_extend(v, 32))
#undef LOAD

#define STORE(name, bits, val)                                                                     \
    HANDLER(K(name))                                                                               \
    {                                                                                              \
        uint64_t at = EA((bits) / 8, 1);                                                           \
        ST(at, val, bits, name);                                                                   \
        NEXT;                                                                                      \
    }
STORE(st8, 8, reg_get(cpu, op->m, 8))
STORE(st16, 16, reg_get(cpu, op->m, 16))
STORE(st32, 32, reg_get(cpu, op->m, 32))
STORE(st64, 64, reg_get(cpu, op->m, 64))
STORE(sti8, 8, (uint64_t)(int64_t)op->imm)
STORE(sti16, 16, (uint64_t)(int64_t)op->imm)
STORE(sti32, 32, (uint64_t)(int64_t)op->imm)
STORE(sti64, 64, (uint64_t)(int64_t)op->imm)
#undef STORE
