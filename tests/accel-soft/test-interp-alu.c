/*
 * test-interp-alu.c: each instruction below runs natively, as inline assembly, and in the
 * interpreter, from the very same bytes, on random operands; registers, memory and the defined
 * flags must agree.
 */
#include "interp-harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

struct state {
    uint64_t rax, rcx, rdx, flags;
    uint64_t mem[4];
};

struct item {
    const char *text;
    void (*native)(struct state *s);
    const uint8_t *begin, *end;
    uint32_t mask;      /* flags that are defined */
    unsigned kind;
    const char *need;   /* CPU feature as the compiler names it */
};

/* shifts: flags depend on the count in CL (or IMM: a constant count above 1) */
enum { PLAIN, SHIFT_CL8, SHIFT_CL16, SHIFT_CL32, SHIFT_CL64, ROTATE_CL, DIVIDE, DOUBLE16 };

enum {
    ALL = FL_ARITH,
    LOGIC = FL_ARITH & ~FL_AF,
    CO = FL_CF | FL_OF,
    IMM = FL_ARITH & ~(FL_AF | FL_OF),
    BITF = FL_CF | FL_ZF,
};

#define NAME2(n, part) case_##n##_##part
#define NAME(n, part) NAME2(n, part)

/* rbx points to s->mem; the instruction may use rax rcx rdx and memory at rbx. */
#define DEFINE(n, insn)                                                                            \
    extern const uint8_t NAME(n, b)[], NAME(n, e)[];                                               \
    __attribute__((noinline)) static void NAME(n, f)(struct state * s)                    \
    {                                                                                              \
        uint64_t a = s->rax, c = s->rcx, d = s->rdx, f = s->flags;                                 \
        /* below the red zone, which the compiler may be using */                                  \
        __asm__ volatile("leaq -128(%%rsp), %%rsp\n\tpushq %3\n\tpopfq\n"                         \
                         ".globl case_" #n "_b\n.hidden case_" #n "_b\ncase_" #n "_b:\n\t" insn    \
                         "\n.globl case_" #n "_e\n.hidden case_" #n "_e\ncase_" #n "_e:\n\t"       \
                         "pushfq\n\tpopq %3\n\tcld\n\tleaq 128(%%rsp), %%rsp"                      \
                         : "+a"(a), "+c"(c), "+d"(d), "+r"(f)                                      \
                         : "b"(s->mem)                                                             \
                         : "memory", "cc", "r8");                                                  \
        s->rax = a, s->rcx = c, s->rdx = d, s->flags = f;                                          \
    }
#define ITEM(n, insn, mask, kind, need)                                                            \
    { insn, NAME(n, f), NAME(n, b), NAME(n, e), mask, kind, need },

#define SIZES(X, n, op, mask)                                                                      \
    X(n##_b, op "b %%cl, %%al", mask, PLAIN, NULL)                                                 \
    X(n##_h, op "b %%ah, %%dh", mask, PLAIN, NULL)                                                 \
    X(n##_w, op "w %%cx, %%ax", mask, PLAIN, NULL)                                                 \
    X(n##_l, op "l %%ecx, %%eax", mask, PLAIN, NULL)                                               \
    X(n##_q, op "q %%rcx, %%rax", mask, PLAIN, NULL)                                               \
    X(n##_lb, op "b 3(%%rbx), %%al", mask, PLAIN, NULL)                                            \
    X(n##_lq, op "q 8(%%rbx), %%rax", mask, PLAIN, NULL)                                           \
    X(n##_sb, op "b %%al, 3(%%rbx)", mask, PLAIN, NULL)                                            \
    X(n##_sw, op "w %%ax, 3(%%rbx)", mask, PLAIN, NULL)                                            \
    X(n##_sl, op "l %%ecx, (%%rbx)", mask, PLAIN, NULL)                                            \
    X(n##_sq, op "q %%rdx, 5(%%rbx)", mask, PLAIN, NULL)                                           \
    X(n##_ib, op "b $0x85, %%al", mask, PLAIN, NULL)                                               \
    X(n##_iw, op "w $-3, %%cx", mask, PLAIN, NULL)                                                 \
    X(n##_il, op "l $0x80000001, %%edx", mask, PLAIN, NULL)                                        \
    X(n##_iq, op "q $-128, %%rax", mask, PLAIN, NULL)                                              \
    X(n##_mb, op "b $0x7f, (%%rbx)", mask, PLAIN, NULL)                                            \
    X(n##_mq, op "q $-77, (%%rbx)", mask, PLAIN, NULL)                                             \
    X(n##_self, op "l %%edx, %%edx", mask, PLAIN, NULL)

#define LOCKED(X, n, op, mask)                                                                     \
    X(n##_kb, "lock; " op "b %%al, 3(%%rbx)", mask, PLAIN, NULL)                                   \
    X(n##_kl, "lock; " op "l %%eax, 4(%%rbx)", mask, PLAIN, NULL)                                  \
    X(n##_kq, "lock; " op "q $9, 8(%%rbx)", mask, PLAIN, NULL)

#define ONES(X, n, op, mask)                                                                       \
    X(n##_b, op "b %%al", mask, PLAIN, NULL)                                                       \
    X(n##_h, op "b %%ch", mask, PLAIN, NULL)                                                       \
    X(n##_w, op "w %%ax", mask, PLAIN, NULL)                                                       \
    X(n##_l, op "l %%edx", mask, PLAIN, NULL)                                                      \
    X(n##_q, op "q %%rcx", mask, PLAIN, NULL)                                                      \
    X(n##_m, op "w 6(%%rbx)", mask, PLAIN, NULL)                                                   \
    X(n##_k, "lock; " op "q (%%rbx)", mask, PLAIN, NULL)

#define SHIFTS(X, n, op)                                                                           \
    X(n##_b, op "b %%cl, %%al", ALL & ~FL_AF, SHIFT_CL8, NULL)                                     \
    X(n##_w, op "w %%cl, %%ax", ALL & ~FL_AF, SHIFT_CL16, NULL)                                    \
    X(n##_l, op "l %%cl, %%edx", ALL & ~FL_AF, SHIFT_CL32, NULL)                                   \
    X(n##_q, op "q %%cl, %%rax", ALL & ~FL_AF, SHIFT_CL64, NULL)                                   \
    X(n##_ql, op "q %%cl, (%%rbx)", ALL & ~FL_AF, SHIFT_CL64, NULL)                                \
    X(n##_1b, op "b $1, %%ah", LOGIC, PLAIN, NULL)                                                 \
    X(n##_1w, op "w $1, (%%rbx)", LOGIC, PLAIN, NULL)                                              \
    X(n##_1l, op "l $1, %%ecx", LOGIC, PLAIN, NULL)                                                \
    X(n##_1q, op "q $1, %%rcx", LOGIC, PLAIN, NULL)                                                \
    X(n##_5l, op "l $5, %%eax", IMM, PLAIN, NULL)                                                  \
    X(n##_31l, op "l $31, %%eax", IMM, PLAIN, NULL)                                                \
    X(n##_63q, op "q $63, %%rdx", IMM, PLAIN, NULL)

#define ROTATES(X, n, op)                                                                          \
    X(n##_b, op "b %%cl, %%al", ALL, ROTATE_CL, NULL)                                              \
    X(n##_w, op "w %%cl, %%ax", ALL, ROTATE_CL, NULL)                                              \
    X(n##_l, op "l %%cl, %%edx", ALL, ROTATE_CL, NULL)                                             \
    X(n##_q, op "q %%cl, %%rax", ALL, ROTATE_CL, NULL)                                             \
    X(n##_m, op "w %%cl, 7(%%rbx)", ALL, ROTATE_CL, NULL)                                          \
    X(n##_1b, op "b $1, %%dl", ALL, PLAIN, NULL)                                                   \
    X(n##_1q, op "q $1, %%rax", ALL, PLAIN, NULL)                                                  \
    X(n##_7l, op "l $7, %%eax", ALL & ~FL_OF, PLAIN, NULL)                                         \
    X(n##_40q, op "q $40, %%rax", ALL & ~FL_OF, PLAIN, NULL)

#define BITS(X, n, op)                                                                             \
    X(n##_rl, op "l %%ecx, %%eax", BITF, PLAIN, NULL)                                              \
    X(n##_rq, op "q %%rcx, %%rax", BITF, PLAIN, NULL)                                              \
    X(n##_iw, op "w $9, %%ax", BITF, PLAIN, NULL)                                                  \
    X(n##_iq, op "q $41, %%rdx", BITF, PLAIN, NULL)                                                \
    X(n##_ml, op "l $35, 4(%%rbx)", BITF, PLAIN, NULL)                                             \
    X(n##_str, "andl $127, %%ecx; " op "l %%ecx, 8(%%rbx)", FL_CF, PLAIN, NULL)                    \
    X(n##_neg, "orq $-64, %%rcx; " op "q %%rcx, 8(%%rbx)", FL_CF, PLAIN, NULL)

#define CONDITIONS(X, cc)                                                                          \
    X(set_##cc, "set" #cc " %%ah", ALL, PLAIN, NULL)                                               \
    X(cmovl_##cc, "cmov" #cc " %%ecx, %%eax", ALL, PLAIN, NULL)                                    \
    X(cmovq_##cc, "cmov" #cc " 8(%%rbx), %%rdx", ALL, PLAIN, NULL)                                 \
    X(jcc_##cc, "j" #cc " 1f; incl %%edx; 1: ", ALL & ~FL_CF, PLAIN, NULL)                         \
    X(cmpj_##cc, "cmpl %%ecx, %%eax; j" #cc " 1f; movl $5, %%edx; 1: ", ALL, PLAIN, NULL)          \
    X(testj_##cc, "testq %%rcx, %%rax; j" #cc " 1f; movl $5, %%edx; 1: ", LOGIC, PLAIN, NULL)      \
    X(cmpij_##cc, "cmpb $0x40, %%cl; j" #cc " 1f; movl $5, %%edx; 1: ", ALL, PLAIN, NULL)          \
    X(decj_##cc, "decl %%eax; j" #cc " 1f; movl $5, %%edx; 1: ", ALL, PLAIN, NULL)                 \
    X(subj_##cc, "subq %%rcx, %%rax; j" #cc " 1f; movl $5, %%edx; 1: ", ALL, PLAIN, NULL)

#define CASES(X)                                                                                   \
    SIZES(X, add, "add", ALL) SIZES(X, adc, "adc", ALL) SIZES(X, sub, "sub", ALL)                  \
    SIZES(X, sbb, "sbb", ALL) SIZES(X, cmp, "cmp", ALL) SIZES(X, and, "and", LOGIC)                \
    SIZES(X, or, "or", LOGIC) SIZES(X, xor, "xor", LOGIC) SIZES(X, test, "test", LOGIC)            \
    LOCKED(X, ladd, "add", ALL) LOCKED(X, ladc, "adc", ALL) LOCKED(X, lsbb, "sbb", ALL)            \
    LOCKED(X, lxor, "xor", LOGIC) LOCKED(X, lsub, "sub", ALL) LOCKED(X, lor, "or", LOGIC)          \
    ONES(X, inc, "inc", ALL) ONES(X, dec, "dec", ALL) ONES(X, neg, "neg", ALL)                     \
    ONES(X, not, "not", ALL)                                                                       \
    SHIFTS(X, shl, "shl") SHIFTS(X, shr, "shr") SHIFTS(X, sar, "sar")                              \
    ROTATES(X, rol, "rol") ROTATES(X, ror, "ror") ROTATES(X, rcl, "rcl") ROTATES(X, rcr, "rcr")    \
    BITS(X, bt, "bt") BITS(X, bts, "bts") BITS(X, btr, "btr") BITS(X, btc, "btc")                  \
    CONDITIONS(X, o) CONDITIONS(X, no) CONDITIONS(X, b) CONDITIONS(X, ae) CONDITIONS(X, e)         \
    CONDITIONS(X, ne) CONDITIONS(X, be) CONDITIONS(X, a) CONDITIONS(X, s) CONDITIONS(X, ns)        \
    CONDITIONS(X, p) CONDITIONS(X, np) CONDITIONS(X, l) CONDITIONS(X, ge) CONDITIONS(X, le)        \
    CONDITIONS(X, g)                                                                               \
    X(shld_w, "shldw %%cl, %%dx, %%ax", ALL & ~FL_AF, DOUBLE16, NULL)                              \
    X(shld_l, "shldl %%cl, %%edx, %%eax", ALL & ~FL_AF, SHIFT_CL32, NULL)                          \
    X(shld_q, "shldq %%cl, %%rdx, (%%rbx)", ALL & ~FL_AF, SHIFT_CL64, NULL)                        \
    X(shrd_w, "shrdw %%cl, %%dx, %%ax", ALL & ~FL_AF, DOUBLE16, NULL)                              \
    X(shrd_l, "shrdl %%cl, %%edx, %%eax", ALL & ~FL_AF, SHIFT_CL32, NULL)                          \
    X(shrd_q, "shrdq $17, %%rdx, %%rax", IMM, PLAIN, NULL)                                         \
    X(mul_b, "mulb %%cl", CO, PLAIN, NULL) X(mul_w, "mulw %%cx", CO, PLAIN, NULL)                  \
    X(mul_l, "mull %%ecx", CO, PLAIN, NULL) X(mul_q, "mulq 8(%%rbx)", CO, PLAIN, NULL)             \
    X(imul_b, "imulb %%cl", CO, PLAIN, NULL) X(imul_w, "imulw 2(%%rbx)", CO, PLAIN, NULL)          \
    X(imul_l, "imull %%ecx", CO, PLAIN, NULL) X(imul_q, "imulq %%rcx", CO, PLAIN, NULL)            \
    X(imul2_w, "imulw %%cx, %%ax", CO, PLAIN, NULL)                                                \
    X(imul2_l, "imull %%ecx, %%eax", CO, PLAIN, NULL)                                              \
    X(imul2_q, "imulq (%%rbx), %%rax", CO, PLAIN, NULL)                                            \
    X(imul2_qr, "imulq %%rdx, %%rax", CO, PLAIN, NULL)                                             \
    X(imul3_l, "imull $-1234, %%ecx, %%edx", CO, PLAIN, NULL)                                      \
    X(imul3_q, "imulq $0x12345678, %%rcx, %%rdx", CO, PLAIN, NULL)                                 \
    X(imul3_m, "imulw $77, (%%rbx), %%ax", CO, PLAIN, NULL)                                        \
    X(div_b, "movzbl %%al, %%eax; divb %%cl", 0, DIVIDE, NULL)                                     \
    X(div_w, "divw %%cx", 0, DIVIDE, NULL) X(div_l, "divl %%ecx", 0, DIVIDE, NULL)                 \
    X(div_q, "divq %%rcx", 0, DIVIDE, NULL)                                                        \
    X(idiv_b, "cbtw; shrb $1, %%cl; incb %%cl; idivb %%cl", 0, DIVIDE, NULL)                       \
    X(idiv_w, "cwtd; shrw $1, %%cx; incw %%cx; idivw %%cx", 0, DIVIDE, NULL)                       \
    X(idiv_l, "cltd; shrl $1, %%ecx; incl %%ecx; idivl %%ecx", 0, DIVIDE, NULL)                    \
    X(idiv_q, "cqto; shrq $1, %%rcx; incq %%rcx; idivq %%rcx", 0, DIVIDE, NULL)                    \
    X(bsf_l, "bsfl %%ecx, %%eax", FL_ZF, PLAIN, NULL)                                              \
    X(bsf_q, "bsfq (%%rbx), %%rax", FL_ZF, PLAIN, NULL)                                            \
    X(bsr_w, "bsrw %%cx, %%ax", FL_ZF, PLAIN, NULL)                                                \
    X(bsr_q, "bsrq %%rcx, %%rax", FL_ZF, PLAIN, NULL)                                              \
    X(tzcnt_l, "tzcntl %%ecx, %%eax", BITF, PLAIN, "bmi")                                          \
    X(tzcnt_w, "tzcntw %%cx, %%ax", BITF, PLAIN, "bmi")                                            \
    X(lzcnt_q, "lzcntq %%rcx, %%rax", BITF, PLAIN, "lzcnt")                                        \
    X(lzcnt_w, "lzcntw %%cx, %%ax", BITF, PLAIN, "lzcnt")                                          \
    X(popcnt_l, "popcntl %%ecx, %%eax", ALL, PLAIN, "popcnt")                                      \
    X(popcnt_q, "popcntq (%%rbx), %%rax", ALL, PLAIN, "popcnt")                                    \
    X(crc_b, "crc32b %%cl, %%eax", ALL, PLAIN, "sse4.2")                                           \
    X(crc_q, "crc32q 3(%%rbx), %%rax", ALL, PLAIN, "sse4.2")                                       \
    X(andn_q, "andnq %%rcx, %%rdx, %%rax", FL_CF | FL_OF | FL_SF | FL_ZF, PLAIN, "bmi")            \
    X(bextr_l, "andl $0x3f3f, %%ecx; bextrl %%ecx, %%edx, %%eax", BITF | FL_OF, PLAIN, "bmi")      \
    X(blsi_q, "blsiq %%rcx, %%rax", FL_CF | FL_OF | FL_SF | FL_ZF, PLAIN, "bmi")                   \
    X(blsr_l, "blsrl (%%rbx), %%eax", FL_CF | FL_OF | FL_SF | FL_ZF, PLAIN, "bmi")                 \
    X(blsmsk_l, "blsmskl %%ecx, %%eax", FL_CF | FL_OF | FL_SF | FL_ZF, PLAIN, "bmi")               \
    X(bzhi_q, "bzhiq %%rcx, %%rdx, %%rax", FL_CF | FL_OF | FL_SF | FL_ZF, PLAIN, "bmi2")           \
    X(mulx_l, "mulxl %%ecx, %%eax, %%ecx", ALL, PLAIN, "bmi2")                                     \
    X(mulx_q, "mulxq (%%rbx), %%rcx, %%rax", ALL, PLAIN, "bmi2")                                   \
    X(pdep_q, "pdepq %%rcx, %%rdx, %%rax", ALL, PLAIN, "bmi2")                                     \
    X(pext_l, "pextl %%ecx, %%edx, %%eax", ALL, PLAIN, "bmi2")                                     \
    X(rorx_q, "rorxq $13, %%rcx, %%rax", ALL, PLAIN, "bmi2")                                       \
    X(sarx_l, "sarxl %%ecx, %%edx, %%eax", ALL, PLAIN, "bmi2")                                     \
    X(shlx_q, "shlxq %%rcx, (%%rbx), %%rax", ALL, PLAIN, "bmi2")                                   \
    X(shrx_l, "shrxl %%ecx, %%edx, %%eax", ALL, PLAIN, "bmi2")                                     \
    X(adcx_q, "adcxq %%rcx, %%rax", ALL, PLAIN, "adx")                                             \
    X(adox_l, "adoxl (%%rbx), %%eax", ALL, PLAIN, "adx")                                           \
    X(movbe_l, "movbel (%%rbx), %%eax", ALL, PLAIN, "movbe")                                       \
    X(movbe_q, "movbeq %%rax, 1(%%rbx)", ALL, PLAIN, "movbe")                                      \
    X(xadd_b, "xaddb %%cl, %%al", ALL, PLAIN, NULL)                                                \
    X(xadd_q, "lock; xaddq %%rcx, 8(%%rbx)", ALL, PLAIN, NULL)                                     \
    X(xadd_l, "xaddl %%ecx, (%%rbx)", ALL, PLAIN, NULL)                                            \
    X(xchg_q, "xchgq %%rcx, 1(%%rbx)", ALL, PLAIN, NULL)                                           \
    X(xchg_l, "xchgl %%ecx, %%edx", ALL, PLAIN, NULL)                                              \
    X(xchg_h, "xchgb %%ah, %%cl", ALL, PLAIN, NULL)                                                \
    X(cmpxchg_q, "cmpxchgq %%rcx, %%rdx", ALL, PLAIN, NULL)                                        \
    X(cmpxchg_hit, "movq (%%rbx), %%rax; lock; cmpxchgq %%rcx, (%%rbx)", ALL, PLAIN, NULL)         \
    X(cmpxchg_miss, "lock; cmpxchgw %%cx, (%%rbx)", ALL, PLAIN, NULL)                              \
    X(cmpxchg_m, "cmpxchgb %%cl, (%%rbx)", ALL, PLAIN, NULL)                                       \
    X(cx8, "push %%rbx; mov %%rbx, %%r8; mov $9, %%ebx; lock; cmpxchg8b (%%r8); pop %%rbx", ALL,   \
      PLAIN, NULL)                                                                                 \
    X(cx8hit, "push %%rbx; mov %%rbx, %%r8; mov (%%r8), %%eax; mov 4(%%r8), %%edx; mov $7, %%ebx;" \
              "lock; cmpxchg8b (%%r8); pop %%rbx", ALL, PLAIN, NULL)                               \
    X(cx16, "push %%rbx; mov %%rbx, %%r8; mov (%%r8), %%rax; mov 8(%%r8), %%rdx; mov $7, %%ebx;"   \
            "lock; cmpxchg16b (%%r8); pop %%rbx", ALL, PLAIN, NULL)                                \
    X(bswap_l, "bswapl %%eax", ALL, PLAIN, NULL) X(bswap_q, "bswapq %%rcx", ALL, PLAIN, NULL)      \
    X(zx_wb, "movzbw %%ch, %%ax", ALL, PLAIN, NULL)                                                \
    X(zx_lb, "movzbl %%dh, %%eax", ALL, PLAIN, NULL)                                               \
    X(zx_qw, "movzwq 3(%%rbx), %%rax", ALL, PLAIN, NULL)                                           \
    X(sx_wb, "movsbw (%%rbx), %%ax", ALL, PLAIN, NULL)                                             \
    X(sx_lb, "movsbl %%ah, %%ecx", ALL, PLAIN, NULL)                                               \
    X(sx_qb, "movsbq 2(%%rbx), %%rcx", ALL, PLAIN, NULL)                                           \
    X(sx_lw, "movswl %%cx, %%eax", ALL, PLAIN, NULL)                                               \
    X(sx_qw, "movswq (%%rbx), %%rax", ALL, PLAIN, NULL)                                            \
    X(sx_ql, "movslq 4(%%rbx), %%rdx", ALL, PLAIN, NULL)                                           \
    X(cbw, "cbtw", ALL, PLAIN, NULL) X(cwde, "cwtl", ALL, PLAIN, NULL)                             \
    X(cdqe, "cltq", ALL, PLAIN, NULL) X(cwd, "cwtd", ALL, PLAIN, NULL)                             \
    X(cdq, "cltd", ALL, PLAIN, NULL) X(cqo, "cqto", ALL, PLAIN, NULL)                              \
    X(lahf, "lahf", ALL, PLAIN, NULL) X(sahf, "sahf", ALL, PLAIN, NULL)                            \
    X(clc, "clc", ALL, PLAIN, NULL) X(stc, "stc", ALL, PLAIN, NULL) X(cmc, "cmc", ALL, PLAIN, NULL)\
    X(leal, "leal 5(%%rax,%%rcx,4), %%edx", ALL, PLAIN, NULL)                                      \
    X(leaq, "leaq -9(%%rax,%%rcx,8), %%rdx", ALL, PLAIN, NULL)                                     \
    X(lea32, "leaq 7(%%eax,%%ecx), %%rdx", ALL, PLAIN, NULL)                                       \
    X(leaw, "leaw 7(%%rax), %%cx", ALL, PLAIN, NULL)                                               \
    X(xlat, "movzbl %%al, %%eax; andl $15, %%eax; xlatb", LOGIC, PLAIN, NULL)                      \
    X(movi, "movb $7, %%ah; movw $-2, %%cx; movl $0x87654321, %%edx; movq $-5, (%%rbx)", ALL,      \
      PLAIN, NULL)                                                                                 \
    X(movabs, "movabsq $0x123456789abcdef0, %%rax", ALL, PLAIN, NULL)                              \
    X(movh, "movb %%ah, %%dl; movb %%cl, %%dh; movb %%ch, 9(%%rbx)", ALL, PLAIN, NULL)             \
    X(movnti, "movnti %%rcx, 8(%%rbx)", ALL, PLAIN, NULL)                                          \
    X(pushpop, "pushq %%rax; pushw %%cx; pushq $-4; popq %%rdx; popw %%dx; popq (%%rbx)", ALL,     \
      PLAIN, NULL)                                                                                 \
    X(pushfpopf, "pushfq; orq %%rcx, %%rcx; popfq", ALL, PLAIN, NULL)                              \
    X(enter, "push %%rbp; enter $32, $0; movq %%rax, -8(%%rbp); movq -8(%%rbp), %%rdx; leave;"     \
             "pop %%rbp", ALL, PLAIN, NULL)                                                        \
    X(loop, "andl $7, %%ecx; incl %%ecx; 1: addq %%rcx, %%rax; loop 1b", ALL, PLAIN, NULL)         \
    X(loopne, "movl $5, %%ecx; 1: shrb $1, %%dl; loopne 1b", FL_ZF, PLAIN, NULL)                   \
    X(jrcxz, "jrcxz 1f; incl %%eax; 1: movl $0, %%ecx; jecxz 2f; movl $1, %%edx; 2: ", 0, PLAIN,   \
      NULL)

#define X(n, insn, mask, kind, need) DEFINE(n, insn)
CASES(X)
#undef X

static const struct item items[] = {
#define X(n, insn, mask, kind, need) ITEM(n, insn, mask, kind, need)
    CASES(X)
#undef X
};

static uint64_t rng = 0x1234567;

static uint64_t next_random(void)
{
    rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return rng >> 32;
}

/* Random, with many values at the edges. */
static uint64_t operand(void)
{
    static const uint64_t edge[] = { 0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff,
                                     0x7fffffff, 0x80000000, 0xffffffff, INT64_MAX,
                                     (uint64_t)INT64_MIN, ~(uint64_t)0 };
    uint64_t r = next_random();
    if (r & 1)
        return next_random() << 32 | next_random();
    return edge[(r >> 1) & 15] + ((r >> 5) & 3) - 1;
}

static bool host_has(const char *need)
{
    if (!need)
        return true;
    if (!strcmp(need, "bmi"))
        return __builtin_cpu_supports("bmi");
    if (!strcmp(need, "bmi2"))
        return __builtin_cpu_supports("bmi2");
    if (!strcmp(need, "popcnt"))
        return __builtin_cpu_supports("popcnt");
    if (!strcmp(need, "sse4.2"))
        return __builtin_cpu_supports("sse4.2");
    return __builtin_cpu_supports("avx2"); /* adx, lzcnt, movbe: not older than Haswell, Zen */
}

/* Flags that are defined for this count. */
static uint32_t defined(const struct item *it, uint64_t cl)
{
    unsigned width[] = { [SHIFT_CL8] = 8, [SHIFT_CL16] = 16, [SHIFT_CL32] = 32, [SHIFT_CL64] = 64 };
    uint32_t mask = it->mask;
    unsigned count = (unsigned)cl & (it->kind == SHIFT_CL64 ? 63 : 31);
    switch (it->kind) {
    case SHIFT_CL8:
    case SHIFT_CL16:
    case SHIFT_CL32:
    case SHIFT_CL64:
        if (count == 0)
            return ALL;
        if (count > 1)
            mask &= ~(uint32_t)FL_OF;
        if (count >= width[it->kind])
            mask &= ~(uint32_t)FL_CF;
        return mask;
    case DOUBLE16:
        if (count == 0)
            return ALL;
        if (count > 1)
            mask &= ~(uint32_t)FL_OF;
        return count > 16 ? 0 : mask;
    case ROTATE_CL:
        return (cl & 63) == 1 || (cl & 63) == 0 ? ALL : ALL & ~(uint32_t)FL_OF;
    default:
        return mask;
    }
}

enum { CODE = 0x400000, DATA = 0x500000, STACK = 0x600000 };

static void run_item(struct machine *m, const struct item *it, unsigned times)
{
    struct vcpu *cpu = m->cpu[0];
    size_t len = (size_t)(it->end - it->begin);
    uint8_t code[160];
    assert_true(len < sizeof code - 1);
    memcpy(code, it->begin, len);
    code[len] = 0xf4; /* HLT */
    mem_write_bytes(cpu, CODE, code, (unsigned)len + 1);
    for (unsigned n = 0; n < times; n++) {
        struct state s;
        s.rax = operand();
        s.rcx = operand();
        s.rdx = operand();
        s.flags = (next_random() & FL_ARITH) | 0x202;
        for (unsigned i = 0; i < 4; i++)
            s.mem[i] = operand();
        if (it->kind == DIVIDE) {
            s.rdx = 0;
            s.rcx |= 0x10101;
            s.rcx |= UINT64_C(0x8000000080808080);
            s.rax &= 0x7f7f;
        }
        if ((it->kind == SHIFT_CL8 || it->kind == SHIFT_CL16 || it->kind == ROTATE_CL) && (n & 1))
            s.rcx = next_random();
        if (it->kind == DOUBLE16) /* above 16 the result is undefined */
            s.rcx = (s.rcx & ~(uint64_t)31) | (s.rcx & 31) % 17;
        struct state before = s;
        static _Alignas(16) struct state nat;
        nat = s;
        it->native(&nat);

        cpu->gpr[REG_RAX] = s.rax;
        cpu->gpr[REG_RCX] = s.rcx;
        cpu->gpr[REG_RDX] = s.rdx;
        cpu->gpr[REG_RBX] = DATA;
        cpu->gpr[REG_RSP] = STACK;
        cpu->gpr[REG_RBP] = UINT64_C(0xabcdef);
        cpu_set_rflags(cpu, s.flags, FL_ARITH);
        memcpy(m->ram + DATA, s.mem, sizeof s.mem);
        cpu->rip = CODE;
        int vector = machine_run(m, 0, 1000);
        uint32_t mask = defined(it, before.rcx);
        uint64_t flags = cpu_rflags(cpu);
        bool same = vector == -1 && cpu->rip == CODE + len + 1 && cpu->gpr[REG_RAX] == nat.rax &&
                    cpu->gpr[REG_RCX] == nat.rcx && cpu->gpr[REG_RDX] == nat.rdx &&
                    !((flags ^ nat.flags) & mask) && cpu->gpr[REG_RSP] == STACK &&
                    !memcmp(m->ram + DATA, nat.mem, sizeof nat.mem);
        if (!same) {
            print_error("%s\n rax %016lx rcx %016lx rdx %016lx mem %016lx %016lx flags %03lx\n"
                        " native  %016lx %016lx %016lx mem %016lx %016lx flags %03lx\n"
                        " interp  %016lx %016lx %016lx mem %016lx %016lx flags %03lx vector %d\n",
                        it->text, before.rax, before.rcx, before.rdx, before.mem[0],
                        before.mem[1], before.flags & FL_ARITH, nat.rax, nat.rcx, nat.rdx,
                        nat.mem[0], nat.mem[1], nat.flags & mask, cpu->gpr[REG_RAX],
                        cpu->gpr[REG_RCX], cpu->gpr[REG_RDX],
                        *(uint64_t *)(void *)(m->ram + DATA),
                        *(uint64_t *)(void *)(m->ram + DATA + 8), flags & mask, vector);
            fail();
        }
    }
}

static void run_all(unsigned times)
{
    struct machine *m = machine_new(16 << 20, 1);
    machine_mode(m, 0, 64);
    m->cpu[0]->fl |= FL_IF;
    unsigned left_out = 0;
    for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
        if (host_has(items[i].need))
            run_item(m, &items[i], times);
        else
            left_out++;
    }
    print_message("%zu instructions, %u left out, %u operands each\n",
                  sizeof items / sizeof *items, left_out, times);
    machine_free(m);
}

static void test_against_native(void **unused)
{
    (void)unused;
    run_all(4000);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_against_native) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
