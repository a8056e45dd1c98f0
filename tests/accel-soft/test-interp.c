/*
 * test-interp.c: what the interpreter does beside arithmetic: precise faults, string instructions,
 * code that changes under it, page-crossing code, single steps, the stack in all widths, locked
 * operations of two CPUs.
 */
#include "interp-harness.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { CODE = 0x400000, DATA = 0x500000, STACK = 0x600000, TABLE = 0x8000 };

static void put(struct machine *m, uint64_t at, const void *bytes, unsigned len)
{
    memcpy(m->ram + at, bytes, len);
    engine_interp.invalidate(m->cpu[0], at, len);
}

#define PUT(m, at, ...)                                                                            \
    do {                                                                                           \
        static const uint8_t put_[] = { __VA_ARGS__ };                                             \
        put((m), (at), put_, sizeof put_);                                                         \
    } while (0)

static int go(struct machine *m, uint64_t rip)
{
    m->cpu[0]->rip = rip;
    return machine_run(m, 0, 1000000);
}

static struct machine *start(unsigned bits)
{
    struct machine *m = machine_new(16 << 20, 1);
    machine_mode(m, 0, bits);
    m->cpu[0]->gpr[REG_RSP] = STACK;
    return m;
}

/* Replace the 2 MiB page of ADDR by 4 KiB ones and give back the entry of ADDR. */
static uint64_t *small_page(struct machine *m, uint64_t addr)
{
    uint64_t *pd = (uint64_t *)(void *)(m->ram + 0x3000);
    uint64_t table = TABLE + (addr >> 21) * 0x1000, *pt = (uint64_t *)(void *)(m->ram + table);
    if (pd[addr >> 21] & 0x80) {
        for (uint64_t i = 0; i < 512; i++)
            pt[i] = (addr & ~(uint64_t)0x1fffff) + i * 0x1000 + 7;
        pd[addr >> 21] = table | 7;
    }
    tlb_flush(m->cpu[0]);
    return &pt[(addr >> 12) & 511];
}

static uint64_t load(struct machine *m, uint64_t at)
{
    uint64_t val;
    memcpy(&val, m->ram + at, sizeof val);
    return val;
}

/* ---- faults ---- */

static void test_fault_names_the_instruction(void **unused)
{
    (void)unused;
    struct machine *m = start(64);
    struct vcpu *cpu = m->cpu[0];
    *small_page(m, DATA) = 0;
    /* inc eax; inc eax; add [rbx], eax; inc eax; hlt */
    PUT(m, CODE, 0xff, 0xc0, 0xff, 0xc0, 0x01, 0x03, 0xff, 0xc0, 0xf4);
    cpu->gpr[REG_RAX] = 0;
    cpu->gpr[REG_RBX] = DATA + 0x18;
    for (unsigned i = 0; i < 3; i++) {
        cpu->gpr[REG_RAX] = 0;
        cpu_set_rflags(cpu, FL_CF, FL_ARITH);
        assert_int_equal(go(m, CODE), VEC_PF);
        assert_int_equal(m->error, PF_W);
        assert_int_equal(cpu->cr2, DATA + 0x18);
        assert_int_equal(cpu->rip, CODE + 4);
        assert_int_equal(cpu->gpr[REG_RAX], 2);
        assert_int_equal(cpu_rflags(cpu) & FL_ARITH, FL_CF); /* of INC; ADD has not happened */
    }
    /* push [rbx]: the read faults; then the push does; RSP stays */
    PUT(m, CODE, 0x90, 0xff, 0x33, 0xf4);
    assert_int_equal(go(m, CODE), VEC_PF);
    assert_int_equal(cpu->rip, CODE + 1);
    assert_int_equal(m->error, 0);
    cpu->gpr[REG_RBX] = CODE;
    cpu->gpr[REG_RSP] = DATA + 0x100;
    assert_int_equal(go(m, CODE), VEC_PF);
    assert_int_equal(m->error, PF_W);
    assert_int_equal(cpu->cr2, DATA + 0xf8);
    assert_int_equal(cpu->gpr[REG_RSP], DATA + 0x100);
    /* call rel32 with a stack that faults */
    PUT(m, CODE, 0x90, 0xe8, 0, 0, 0, 0, 0xf4);
    assert_int_equal(go(m, CODE), VEC_PF);
    assert_int_equal(cpu->rip, CODE + 1);
    assert_int_equal(cpu->gpr[REG_RSP], DATA + 0x100);
    /* ret to a non-canonical address: #GP(0) at the RET, RSP unchanged */
    cpu->gpr[REG_RSP] = STACK;
    *(uint64_t *)(void *)(m->ram + STACK) = UINT64_C(1) << 63;
    PUT(m, CODE, 0x90, 0xc3);
    assert_int_equal(go(m, CODE), VEC_GP);
    assert_int_equal(cpu->rip, CODE + 1);
    assert_int_equal(cpu->gpr[REG_RSP], STACK);
    /* non-canonical data: #GP; through RSP or RBP: #SS */
    cpu->gpr[REG_RBX] = UINT64_C(1) << 62;
    PUT(m, CODE, 0x90, 0x8b, 0x03);
    assert_int_equal(go(m, CODE), VEC_GP);
    cpu->gpr[REG_RBP] = UINT64_C(1) << 62;
    PUT(m, CODE, 0x90, 0x8b, 0x45, 0x00);
    assert_int_equal(go(m, CODE), VEC_SS);
    cpu->gpr[REG_RSP] = UINT64_C(1) << 62;
    PUT(m, CODE, 0x90, 0x50);
    assert_int_equal(go(m, CODE), VEC_SS);
    assert_int_equal(cpu->rip, CODE + 1);
    /* divide by zero; undefined; a LOCK that is not allowed */
    cpu->gpr[REG_RSP] = STACK;
    cpu->gpr[REG_RCX] = 0;
    PUT(m, CODE, 0x90, 0xf7, 0xf1);
    assert_int_equal(go(m, CODE), VEC_DE);
    assert_int_equal(cpu->rip, CODE + 1);
    PUT(m, CODE, 0x90, 0x0f, 0x0b);
    assert_int_equal(go(m, CODE), VEC_UD);
    assert_int_equal(cpu->rip, CODE + 1);
    PUT(m, CODE, 0xf0, 0x01, 0xc0);
    assert_int_equal(go(m, CODE), VEC_UD);
    /* cmpxchg16b misaligned */
    cpu->gpr[REG_RBX] = STACK + 8;
    PUT(m, CODE, 0xf0, 0x48, 0x0f, 0xc7, 0x0b);
    assert_int_equal(go(m, CODE), VEC_GP);
    machine_free(m);
}

static void test_fetch_faults(void **unused)
{
    (void)unused;
    struct machine *m = start(64);
    struct vcpu *cpu = m->cpu[0];
    uint64_t *next = small_page(m, CODE + 0x1000);
    /* mov eax, imm32 across the page end, behind a nop */
    PUT(m, CODE + 0xffc, 0x90, 0xb8, 0x11, 0x22, 0x33, 0x44, 0xf4);
    assert_int_equal(go(m, CODE + 0xffc), -1);
    assert_int_equal(cpu->gpr[REG_RAX], 0x44332211);
    /* the second half moves elsewhere */
    *next = 0x700000 | 7;
    PUT(m, 0x700000, 0x55, 0x66, 0xf4);
    tlb_flush_page(cpu, CODE + 0x1000);
    assert_int_equal(go(m, CODE + 0xffc), -1);
    assert_int_equal(cpu->gpr[REG_RAX], 0x66552211);
    PUT(m, 0x700000, 0x77, 0x88, 0xf4);
    assert_int_equal(go(m, CODE + 0xffc), -1);
    assert_int_equal(cpu->gpr[REG_RAX], 0x88772211);
    *next = 0;
    tlb_flush_page(cpu, CODE + 0x1000);
    assert_int_equal(go(m, CODE + 0xffc), VEC_PF);
    assert_int_equal(cpu->rip, CODE + 0xffd);
    assert_int_equal(cpu->cr2, CODE + 0x1000);
    *next = (CODE + 0x1000) | 7;
    /* fifteen prefixes: #GP */
    PUT(m, CODE, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
        0x66, 0x90);
    assert_int_equal(go(m, CODE), VEC_GP);
    machine_free(m);
}

/* ---- strings ---- */

static void test_strings(void **unused)
{
    (void)unused;
    struct machine *m = start(64);
    struct vcpu *cpu = m->cpu[0];
    uint8_t *data = m->ram + DATA;
    for (unsigned i = 0; i < 0x4000; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 8));

    PUT(m, CODE, 0xf3, 0xa4, 0xf4); /* rep movsb over pages */
    cpu->gpr[REG_RSI] = DATA + 3;
    cpu->gpr[REG_RDI] = DATA + 0x8005;
    cpu->gpr[REG_RCX] = 0x2345;
    assert_int_equal(go(m, CODE), -1);
    assert_memory_equal(data + 0x8005, data + 3, 0x2345);
    assert_int_equal(cpu->gpr[REG_RCX], 0);
    assert_int_equal(cpu->gpr[REG_RSI], DATA + 3 + 0x2345);
    assert_int_equal(cpu->gpr[REG_RDI], DATA + 0x8005 + 0x2345);

    /* destination one above the source: the first byte spreads */
    cpu->gpr[REG_RSI] = DATA;
    cpu->gpr[REG_RDI] = DATA + 1;
    cpu->gpr[REG_RCX] = 100;
    data[0] = 0x42;
    assert_int_equal(go(m, CODE), -1);
    for (unsigned i = 0; i <= 100; i++)
        assert_int_equal(data[i], 0x42);

    /* RCX = 0 touches nothing: the addresses are absent */
    cpu->gpr[REG_RSI] = cpu->gpr[REG_RDI] = UINT64_C(1) << 40;
    assert_int_equal(go(m, CODE), -1);
    assert_int_equal(cpu->gpr[REG_RSI], UINT64_C(1) << 40);

    /* descending qwords */
    PUT(m, CODE, 0xfd, 0xf3, 0x48, 0xa5, 0xfc, 0xf4);
    cpu->gpr[REG_RSI] = DATA + 0x1038;
    cpu->gpr[REG_RDI] = DATA + 0x9038;
    cpu->gpr[REG_RCX] = 16;
    assert_int_equal(go(m, CODE), -1);
    assert_memory_equal(data + 0x8fc0, data + 0xfc0, 128);
    assert_int_equal(cpu->gpr[REG_RDI], DATA + 0x8fb8);

    /* a fault in the middle: registers stand at the element that faulted, and it goes on */
    uint64_t *page = small_page(m, DATA + 0xb000);
    *page = 0;
    PUT(m, CODE, 0xf3, 0x48, 0xab, 0xf4); /* rep stosq */
    cpu->gpr[REG_RAX] = UINT64_C(0x0123456789abcdef);
    cpu->gpr[REG_RDI] = DATA + 0xaf00;
    cpu->gpr[REG_RCX] = 100;
    assert_int_equal(go(m, CODE), VEC_PF);
    assert_int_equal(cpu->rip, CODE);
    assert_int_equal(cpu->gpr[REG_RCX], 100 - 32);
    assert_int_equal(cpu->gpr[REG_RDI], DATA + 0xb000);
    assert_int_equal(cpu->cr2, DATA + 0xb000);
    *page = (DATA + 0xb000) | 7;
    assert_int_equal(machine_run(m, 0, 1000), -1);
    assert_int_equal(cpu->gpr[REG_RCX], 0);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(load(m, DATA + 0xaf00 + i * 8), UINT64_C(0x0123456789abcdef));

    /* 67h: 32-bit count and index; they are zero extended when written */
    PUT(m, CODE, 0x67, 0xf3, 0xaa, 0xf4);
    cpu->gpr[REG_RDI] = UINT64_C(0xffff000000000000) + DATA;
    cpu->gpr[REG_RCX] = UINT64_C(0xffff000000000002);
    assert_int_equal(go(m, CODE), -1);
    assert_int_equal(cpu->gpr[REG_RDI], DATA + 2);
    assert_int_equal(cpu->gpr[REG_RCX], 0);

    /* repne scasb, repe cmpsb; flags stay if the count is 0 */
    memcpy(data, "hello, world", 12);
    memcpy(data + 0x100, "hello, there", 12);
    PUT(m, CODE, 0xf2, 0xae, 0xf4);
    cpu->gpr[REG_RAX] = 'w';
    cpu->gpr[REG_RDI] = DATA;
    cpu->gpr[REG_RCX] = 12;
    assert_int_equal(go(m, CODE), -1);
    assert_int_equal(cpu->gpr[REG_RCX], 4);
    assert_true(cpu_rflags(cpu) & FL_ZF);
    PUT(m, CODE, 0xf3, 0xa6, 0xf4);
    cpu->gpr[REG_RSI] = DATA;
    cpu->gpr[REG_RDI] = DATA + 0x100;
    cpu->gpr[REG_RCX] = 12;
    assert_int_equal(go(m, CODE), -1);
    assert_int_equal(cpu->gpr[REG_RCX], 4);
    assert_false(cpu_rflags(cpu) & (FL_ZF | FL_CF)); /* 'w' > 't' */
    cpu->gpr[REG_RCX] = 0;
    cpu_set_rflags(cpu, FL_ZF | FL_OF, FL_ARITH);
    assert_int_equal(go(m, CODE), -1);
    assert_int_equal(cpu_rflags(cpu) & FL_ARITH, FL_ZF | FL_OF);

    /* a request from outside interrupts between chunks and leaves a restartable state */
    PUT(m, CODE, 0xf3, 0xa4, 0xf4);
    cpu->gpr[REG_RSI] = DATA;
    cpu->gpr[REG_RDI] = DATA + 0x10000;
    cpu->gpr[REG_RCX] = 0x3000;
    cpu->rip = CODE;
    atomic_store(&cpu->exit_req, REQ_KICK);
    engine_interp.execute(cpu, 1000);
    assert_int_equal(cpu->rip, CODE);
    assert_true(cpu->gpr[REG_RCX] > 0 && cpu->gpr[REG_RCX] < 0x3000);
    assert_int_equal(cpu->gpr[REG_RSI] - DATA, 0x3000 - cpu->gpr[REG_RCX]);
    machine_free(m);
}

static void test_strings_16(void **unused)
{
    (void)unused;
    struct machine *m = start(16);
    struct vcpu *cpu = m->cpu[0];
    cpu->seg[SEG_ES].base = 0x20000;
    cpu->seg[SEG_DS].base = 0x30000;
    cpu_mode_changed(cpu);
    PUT(m, 0x7c00, 0xf3, 0xa4, 0xf4); /* SI wraps at 64 KiB, upper halves stay */
    m->ram[0x3fffe] = 1, m->ram[0x3ffff] = 2, m->ram[0x30000] = 3, m->ram[0x30001] = 4;
    cpu->gpr[REG_RSI] = 0xabcdfffe;
    cpu->gpr[REG_RDI] = 0x12340100;
    cpu->gpr[REG_RCX] = 0x99990004;
    assert_int_equal(go(m, 0x7c00), -1);
    assert_memory_equal(m->ram + 0x20100, "\1\2\3\4", 4);
    assert_int_equal(cpu->gpr[REG_RSI], 0xabcd0002);
    assert_int_equal(cpu->gpr[REG_RDI], 0x12340104);
    assert_int_equal(cpu->gpr[REG_RCX], 0x99990000);
    machine_free(m);
}

/* ---- modes ---- */

static void test_real_mode(void **unused)
{
    (void)unused;
    struct machine *m = start(16);
    struct vcpu *cpu = m->cpu[0];
    cpu->gpr[REG_RSP] = 0xffff0010;
    cpu->seg[SEG_SS].base = 0x10000;
    cpu->seg[SEG_DS].base = 0x20000;
    cpu_mode_changed(cpu);
    /* mov ax,1234h; push ax; call +3; hlt; .. ; pop cx; pop dx; push cx; mov [bx+si+2],dx; ret */
    PUT(m, 0x7c00, 0xb8, 0x34, 0x12, 0x50, 0xe8, 0x03, 0x00, 0xf4, 0x90, 0x90, 0x59, 0x5a, 0x51,
        0x89,
        0x50, 0x02, 0xc3);
    cpu->gpr[REG_RBX] = 0xfff0;
    cpu->gpr[REG_RSI] = 0x0020;
    cpu->gpr[REG_RDX] = 0xaaaa0000;
    assert_int_equal(go(m, 0x7c00), -1);
    assert_int_equal(cpu->gpr[REG_RSP], 0xffff0010);
    assert_int_equal(cpu->gpr[REG_RDX], 0xaaaa1234);
    assert_int_equal(m->ram[0x20012], 0x34); /* (fff0 + 20 + 2) & ffff */
    /* a word at offset ffff: beyond the limit */
    PUT(m, 0x7c00, 0xa1, 0xff, 0xff, 0xf4);
    assert_int_equal(go(m, 0x7c00), VEC_GP);
    /* a jump beyond the limit of CS: at the jump */
    PUT(m, 0x7c00, 0x66, 0xe9, 0x00, 0x00, 0x01, 0x00);
    assert_int_equal(go(m, 0x7c00), VEC_GP);
    assert_int_equal(cpu->rip, 0x7c00);
    machine_free(m);
}

static void test_32_bit(void **unused)
{
    (void)unused;
    struct machine *m = start(32);
    struct vcpu *cpu = m->cpu[0];
    cpu->gpr[REG_RSP] = STACK;
    assert_int_equal(cpu->flat, 1);
    /* pusha; mov eax,[esp+28]; popa; push 5; pop ecx; call +1; hlt; ret */
    PUT(m, CODE, 0x60, 0x8b, 0x5c, 0x24, 0x1c, 0x61, 0x6a, 0x05, 0x59, 0xe8, 0x01, 0x00, 0x00, 0x00,
        0xf4,
        0xc3);
    cpu->gpr[REG_RAX] = 0x11223344;
    cpu->gpr[REG_RBX] = 7;
    assert_int_equal(go(m, CODE), -1);
    assert_int_equal(cpu->gpr[REG_RBX], 7); /* restored by POPA */
    assert_int_equal(cpu->gpr[REG_RCX], 5);
    assert_int_equal(cpu->gpr[REG_RSP], STACK);
    assert_int_equal(*(uint32_t *)(void *)(m->ram + STACK - 4), CODE + 14);
    /* addresses wrap at 4 GiB: mov eax,[ebx+ecx*8+disp] */
    PUT(m, CODE, 0x8b, 0x84, 0xcb, 0x00, 0x00, 0x50, 0x00, 0xf4);
    cpu->gpr[REG_RBX] = 0xfffffff0;
    cpu->gpr[REG_RCX] = 4;
    *(uint32_t *)(void *)(m->ram + 0x500010) = 0xfeed;
    assert_int_equal(go(m, CODE), -1);
    assert_int_equal(cpu->gpr[REG_RAX], 0xfeed);
    /* daa, aam, aad, bound */
    PUT(m, CODE, 0xb0, 0x3c, 0x04, 0x05, 0x27, 0xf4); /* 3c + 5 = 41, DAA: 47 */
    assert_int_equal(go(m, CODE), -1);
    assert_int_equal(cpu->gpr[REG_RAX] & 0xff, 0x47);
    PUT(m, CODE, 0xb0, 0x4d, 0xd4, 0x0a, 0x89, 0xc2, 0xd5, 0x0a, 0xf4); /* 77 -> 0707h -> 77 */
    assert_int_equal(go(m, CODE), -1);
    assert_int_equal(cpu->gpr[REG_RDX] & 0xffff, 0x0707);
    assert_int_equal(cpu->gpr[REG_RAX] & 0xffff, 77);
    PUT(m, CODE, 0x62, 0x03, 0xf4);
    *(uint32_t *)(void *)(m->ram + DATA) = (uint32_t)-5;
    *(uint32_t *)(void *)(m->ram + DATA + 4) = 5;
    cpu->gpr[REG_RBX] = DATA;
    cpu->gpr[REG_RAX] = 5;
    assert_int_equal(go(m, CODE), -1);
    cpu->gpr[REG_RAX] = 6;
    assert_int_equal(go(m, CODE), VEC_BR);
    /* a read-only data segment */
    cpu->seg[SEG_DS].attr = 0x91 | ATTR_DB | ATTR_G;
    cpu_mode_changed(cpu);
    PUT(m, CODE, 0x89, 0x03, 0xf4);
    assert_int_equal(go(m, CODE), VEC_GP);
    machine_free(m);
}

static void test_popf_rules(void **unused)
{
    (void)unused;
    struct machine *m = start(64);
    struct vcpu *cpu = m->cpu[0];
    PUT(m, CODE, 0x9d, 0x9c, 0x58, 0xf4); /* popf; pushf; pop rax */
    *(uint64_t *)(void *)(m->ram + STACK) = 0x3202;
    assert_int_equal(go(m, CODE), -1);
    assert_int_equal(cpu->gpr[REG_RAX], 0x3202);
    cpu->fl = FL_1;
    cpu->cpl = 3; /* IOPL 0: IF and IOPL stay */
    cpu_mode_changed(cpu);
    cpu->gpr[REG_RSP] = STACK;
    assert_int_equal(go(m, CODE), VEC_GP); /* HLT */
    assert_int_equal(cpu->rip, CODE + 3);
    assert_int_equal(cpu->gpr[REG_RAX], 0x0002);
    cpu->fl = FL_1 | FL_IOPL; /* IOPL 3: IF follows, IOPL stays */
    cpu->gpr[REG_RSP] = STACK;
    *(uint64_t *)(void *)(m->ram + STACK) = 0x0202;
    assert_int_equal(go(m, CODE), VEC_GP); /* HLT */
    assert_int_equal(cpu->rip, CODE + 3);
    assert_int_equal(cpu->gpr[REG_RAX], 0x3202);
    machine_free(m);
}

static void test_steps_and_shadows(void **unused)
{
    (void)unused;
    struct machine *m = start(64);
    struct vcpu *cpu = m->cpu[0];
    PUT(m, CODE, 0xff, 0xc0, 0xeb, 0x00, 0xff, 0xc0, 0xf3, 0xaa, 0xfb, 0x90, 0x90, 0xf4);
    cpu->gpr[REG_RCX] = 2;
    cpu->gpr[REG_RDI] = DATA;
    cpu->gpr[REG_RAX] = 0;
    cpu->rip = CODE;
    cpu->fl |= FL_TF;
    static const unsigned stops[] = { 2, 4, 6, 6, 8 }; /* REP STOSB traps after each iteration */
    for (unsigned i = 0; i < 5; i++) {
        cpu->single_step = 0;
        engine_interp.execute(cpu, 1000);
        assert_int_equal(cpu->rip, CODE + stops[i]);
        assert_int_equal(cpu->single_step, 1);
    }
    cpu->fl &= ~(uint32_t)FL_TF;
    /* STI: exactly one more instruction although somebody asks to look up */
    engine_interp.execute(cpu, 1);
    assert_int_equal(cpu->rip, CODE + 9);
    assert_int_equal(cpu->inhibit, 1);
    atomic_store(&cpu->exit_req, REQ_EVENT);
    engine_interp.execute(cpu, 1000);
    assert_int_equal(cpu->rip, CODE + 10);
    assert_int_equal(cpu->inhibit, 0);
    machine_free(m);
}

/* ---- code that changes ---- */

static void test_code_changes(void **unused)
{
    (void)unused;
    struct machine *m = start(64);
    struct vcpu *cpu = m->cpu[0];
    /* mov byte [rip+1],2 ; mov al,1 ; hlt: the store changes the next instruction */
    PUT(m, CODE, 0xc6, 0x05, 0x01, 0x00, 0x00, 0x00, 0x02, 0xb0, 0x01, 0xf4);
    for (unsigned i = 0; i < 3; i++) {
        m->ram[CODE + 8] = 1;
        engine_interp.invalidate(cpu, CODE + 8, 1);
        assert_int_equal(go(m, CODE), -1);
        assert_int_equal(cpu->gpr[REG_RAX] & 0xff, 2);
    }
    /* through another linear address of the same page */
    *small_page(m, DATA) = CODE | 7;
    cpu->gpr[REG_RBX] = DATA;
    PUT(m, CODE, 0xc6, 0x43, 0x05, 0x03, 0xb0, 0x01, 0xf4); /* mov byte [rbx+5],3; mov al,1 */
    assert_int_equal(go(m, CODE), -1);
    assert_int_equal(cpu->gpr[REG_RAX] & 0xff, 3);

    /* a callee is rewritten between two calls: links to it are cut */
    PUT(m, CODE + 0x100, 0xb8, 0x01, 0x00, 0x00, 0x00, 0xc3);
    PUT(m, CODE, 0x31, 0xd2, 0xe8, 0xf9, 0x00, 0x00, 0x00, /* xor edx,edx; call 100h */
        0x01, 0xc2,                                        /* add edx,eax */
        0xfe, 0x05, 0xf2, 0x00, 0x00, 0x00,                /* inc byte [101h] */
        0xff, 0xc9, 0x75, 0xef, 0xf4);                     /* dec ecx; jnz -17: the call */
    cpu->gpr[REG_RCX] = 10;
    assert_int_equal(go(m, CODE), -1);
    assert_int_equal(cpu->gpr[REG_RDX], 55);

    /* data in the page of the code, not in its lines: the block is kept */
    PUT(m, CODE, 0xff, 0x05, 0xfa, 0x07, 0x00, 0x00, 0xff, 0xc9, 0x75, 0xf6, 0xf4); /* inc [800h] */
    cpu->gpr[REG_RCX] = 1;
    assert_int_equal(go(m, CODE), -1);
    uint64_t decoded = cpu->blocks_decoded;
    cpu->gpr[REG_RCX] = 1000;
    assert_int_equal(go(m, CODE), -1);
    assert_in_range(cpu->blocks_decoded - decoded, 0, 2);
    assert_int_equal(load(m, CODE + 0x800) & 0xffffffff, 1001);

    /* rep stos over its own page; the next instruction is a new one */
    memset(m->ram + CODE, 0x90, 0x1000);
    PUT(m, CODE, 0xf3, 0xaa, 0x90, 0x90, 0xf4); /* writes HLT from +4 on */
    m->ram[CODE + 4] = 0x90;
    cpu->gpr[REG_RDI] = CODE + 3;
    cpu->gpr[REG_RAX] = 0xf4;
    cpu->gpr[REG_RCX] = 16;
    assert_int_equal(go(m, CODE), -1);
    assert_int_equal(cpu->rip, CODE + 4);
    machine_free(m);
}

static void test_mapping_changes(void **unused)
{
    (void)unused;
    struct machine *m = start(64);
    struct vcpu *cpu = m->cpu[0];
    uint64_t *page = small_page(m, CODE + 0x2000);
    PUT(m, CODE, 0xe8, 0xfb, 0x1f, 0x00, 0x00, 0xf4); /* call 2000h; hlt */
    PUT(m, CODE + 0x2000, 0xb0, 0x01, 0xc3);
    PUT(m, CODE + 0x3000, 0xb0, 0x02, 0xc3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(go(m, CODE), -1);
        assert_int_equal(cpu->gpr[REG_RAX] & 0xff, i % 2 + 1);
        *page = (CODE + (i % 2 ? 0x2000 : 0x3000)) | 7;
        if (i == 0)
            tlb_flush_page(cpu, CODE + 0x2000);
        else
            tlb_flush_context(cpu);
    }
    *page |= UINT64_C(1) << 63; /* NX */
    tlb_flush_page(cpu, CODE + 0x2000);
    assert_int_equal(go(m, CODE), VEC_PF);
    assert_int_equal(cpu->rip, CODE + 0x2000);
    assert_int_equal(m->error, PF_P | PF_I);
    machine_free(m);
}

static void test_cache_fills_up(void **unused)
{
    (void)unused;
    struct machine *m = start(64);
    struct vcpu *cpu = m->cpu[0];
    /* many entry points of a sea of NOPs: overlapping blocks exhaust the arena */
    memset(m->ram + CODE, 0x90, 0x200000);
    m->ram[CODE + 0x1fffff] = 0xf4;
    for (unsigned round = 0; round < 3; round++)
        for (uint64_t i = 0; i < 0x20000; i++) {
            cpu->rip = CODE + i * 16 % 0x1ff000 + i / 0x1ff00;
            engine_interp.execute(cpu, 2);
        }
    assert_true(cpu->interp->arena_used <= cpu->interp->arena_size);
    assert_int_equal(go(m, CODE + 0x1fff00), -1);
    machine_free(m);
}

/* ---- two CPUs ---- */

struct runner {
    struct machine *m;
    unsigned cpu;
    int vector;
};

static void *run_cpu(void *arg)
{
    struct runner *r = arg;
    r->vector = machine_run(r->m, r->cpu, UINT64_C(1) << 40);
    return NULL;
}

static void run_both(struct machine *m)
{
    struct runner r[2] = { { m, 0, 0 }, { m, 1, 0 } };
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, run_cpu, &r[1]), 0);
    run_cpu(&r[0]);
    pthread_join(t, NULL);
    assert_int_equal(r[0].vector, -1);
    assert_int_equal(r[1].vector, -1);
}

static struct machine *start_two(void)
{
    struct machine *m = machine_new(16 << 20, 2);
    for (unsigned i = 0; i < 2; i++) {
        machine_mode(m, i, 64);
        m->cpu[i]->gpr[REG_RSP] = STACK - i * 0x10000;
        m->cpu[i]->gpr[REG_RBX] = DATA;
        m->cpu[i]->rip = CODE;
    }
    return m;
}

static void test_locked_by_two(void **unused)
{
    (void)unused;
    enum { N = 200000 };
    struct machine *m = start_two();
    memset(m->ram + DATA, 0, 64);
    PUT(m, CODE,
        0xf0, 0x48, 0xff, 0x03,             /* lock inc qword [rbx] */
        0xf0, 0x83, 0x43, 0x09, 0x01,       /* lock add dword [rbx+9],1 (misaligned) */
        0xb8, 0x01, 0x00, 0x00, 0x00,       /* mov eax,1 */
        0xf0, 0x0f, 0xc1, 0x43, 0x10,       /* lock xadd [rbx+16],eax */
        0x48, 0x8b, 0x43, 0x18,             /* mov rax,[rbx+24] */
        0x48, 0x8d, 0x50, 0x01,             /* 1: lea rdx,[rax+1] */
        0xf0, 0x48, 0x0f, 0xb1, 0x53, 0x18, /* lock cmpxchg [rbx+24],rdx */
        0x75, 0xf4,                         /* jnz 1b */
        0xf0, 0x66, 0xff, 0x4b, 0x20,       /* lock dec word [rbx+32] */
        0xff, 0xc9, 0x75, 0xd4, 0xf4);      /* dec ecx; jnz; hlt */
    m->cpu[0]->gpr[REG_RCX] = m->cpu[1]->gpr[REG_RCX] = N;
    run_both(m);
    assert_int_equal(load(m, DATA), 2 * N);
    assert_int_equal(load(m, DATA + 9) & 0xffffffff, 2 * N);
    assert_int_equal(load(m, DATA + 16) & 0xffffffff, 2 * N);
    assert_int_equal(load(m, DATA + 24), 2 * N);
    assert_int_equal(load(m, DATA + 32) & 0xffff, (uint16_t)(0 - 2 * N));
    machine_free(m);
}

/* CPU 1 executes a function that CPU 0 rewrites over and over; it must get to see the last one. */
static void test_code_changed_by_the_other(void **unused)
{
    (void)unused;
    struct machine *m = start_two();
    PUT(m, CODE + 0x5000, 0xb8, 0x00, 0x00, 0x00, 0x00, 0xc3); /* mov eax,0; ret */
    /* CPU 0: for ecx in 1..200000: mov [5001h], ecx */
    PUT(m, CODE + 0x1000, 0xff, 0xc1, 0x89, 0x0d, 0xf9, 0x3f, 0x00, 0x00, 0x81, 0xf9, 0x40, 0x0d,
        0x03,
        0x00, 0x75, 0xf0, 0xf4);
    /* CPU 1: until eax = 200000: call 5000h */
    PUT(m, CODE, 0xe8, 0xfb, 0x4f, 0x00, 0x00, 0x3d, 0x40, 0x0d, 0x03, 0x00, 0x75, 0xf4, 0xf4);
    m->cpu[0]->rip = CODE + 0x1000;
    m->cpu[0]->gpr[REG_RCX] = 0;
    run_both(m);
    assert_int_equal(m->cpu[1]->gpr[REG_RAX], 200000);
    machine_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fault_names_the_instruction),
        cmocka_unit_test(test_fetch_faults),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_strings_16),
        cmocka_unit_test(test_real_mode),
        cmocka_unit_test(test_32_bit),
        cmocka_unit_test(test_popf_rules),
        cmocka_unit_test(test_steps_and_shadows),
        cmocka_unit_test(test_code_changes),
        cmocka_unit_test(test_mapping_changes),
        cmocka_unit_test(test_cache_fills_up),
        cmocka_unit_test(test_locked_by_two),
        cmocka_unit_test(test_code_changed_by_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
