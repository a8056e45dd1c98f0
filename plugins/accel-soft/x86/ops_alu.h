/* ops_alu.h: arithmetic with a memory operand; compiled by ops_kinds.h for interp_fast_alu.c. */
#define BINARY(name, bits)                                                                         \
    HANDLER(K(name##_rm##bits))                                                                    \
    {                                                                                              \
        uint64_t b, at = EA((bits) / 8, 0);                                                        \
        LD(b, at, bits, name##_rm##bits);                                                          \
        reg_set(cpu, op->r, do_##name(cpu, reg_get(cpu, op->r, bits), b, bits), bits);             \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(K(name##_mr##bits))                                                                    \
    {                                                                                              \
        uint64_t a, at = EA((bits) / 8, 1);                                                        \
        UPD(a, at, bits, name##_mr##bits);                                                         \
        a = do_##name(cpu, a, reg_get(cpu, op->m, bits), bits);                                    \
        PUT(at, a, bits);                                                                          \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(K(name##_mi##bits))                                                                    \
    {                                                                                              \
        uint64_t a, at = EA((bits) / 8, 1);                                                        \
        UPD(a, at, bits, name##_mi##bits);                                                         \
        a = do_##name(cpu, a, (uint64_t)(int64_t)op->imm, bits);                                   \
        PUT(at, a, bits);                                                                          \
        NEXT;                                                                                      \
    }

#define COMPARE(name, bits)                                                                        \
    HANDLER(K(name##_rm##bits))                                                                    \
    {                                                                                              \
        uint64_t b, at = EA((bits) / 8, 0);                                                        \
        LD(b, at, bits, name##_rm##bits);                                                          \
        do_##name(cpu, reg_get(cpu, op->r, bits), b, bits);                                        \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(K(name##_mr##bits))                                                                    \
    {                                                                                              \
        uint64_t a, at = EA((bits) / 8, 0);                                                        \
        LD(a, at, bits, name##_mr##bits);                                                          \
        do_##name(cpu, a, reg_get(cpu, op->m, bits), bits);                                        \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(K(name##_mi##bits))                                                                    \
    {                                                                                              \
        uint64_t a, at = EA((bits) / 8, 0);                                                        \
        LD(a, at, bits, name##_mi##bits);                                                          \
        do_##name(cpu, a, (uint64_t)(int64_t)op->imm, bits);                                       \
        NEXT;                                                                                      \
    }

#define UNARY(name, bits)                                                                          \
    HANDLER(K(name##_m##bits))                                                                     \
    {                                                                                              \
        uint64_t a, at = EA((bits) / 8, 1);                                                        \
        UPD(a, at, bits, name##_m##bits);                                                          \
        a = do_##name(cpu, a, bits);                                                               \
        PUT(at, a, bits);                                                                          \
        NEXT;                                                                                      \
    }

#define ALL(X, name) X(name, 8) X(name, 16) X(name, 32) X(name, 64)
ALL(BINARY, add)
ALL(BINARY, or)
ALL(BINARY, adc)
ALL(BINARY, sbb)
ALL(BINARY, and)
ALL(BINARY, sub)
ALL(BINARY, xor)
ALL(COMPARE, cmp)
ALL(COMPARE, test)
ALL(UNARY, inc)
ALL(UNARY, dec)
ALL(UNARY, neg)
ALL(UNARY, not)
#undef ALL
#undef BINARY
#undef COMPARE
#undef UNARY
