/*
 * host.c: runs one instruction on the host's processor with a given register file. A hand-written
 * stub at a fixed address loads every register, jumps to the instruction, and is jumped back to;
 * a fault comes as a signal whose context is the outcome. No register but RIP is needed to return:
 * the stub's data lies at an absolute address.
 */
#include "native1.h"

#include <asm/prctl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

struct ctx {
    uint64_t in[16];        /* 0x000 */
    uint64_t out[16];       /* 0x080 */
    uint64_t flags_in;      /* 0x100 */
    uint64_t flags_out;     /* 0x108 */
    uint64_t host_rsp;      /* 0x110 */
    uint64_t target;        /* 0x118 */
    uint64_t exit;          /* 0x120: 1 fell through, 2 branched, 3 fault */
    uint32_t mxcsr;         /* 0x128 */
    uint32_t pad[5];
    uint8_t xin[1024] __attribute__((aligned(64)));  /* 0x140 */
    uint8_t xout[1024] __attribute__((aligned(64))); /* 0x540 */
    /* filled by the signal handler */
    uint64_t rip, error, trap, cr2;
};

/* GPR names in the order of the encoding; n is the register, o its offset in ctx.in. */
#define ALL_REGS(X)                                                                                \
    X("rax", 0x00) X("rcx", 0x08) X("rdx", 0x10) X("rbx", 0x18) X("rsp", 0x20) X("rbp", 0x28)  \
    X("rsi", 0x30) X("rdi", 0x38) X("r8", 0x40) X("r9", 0x48) X("r10", 0x50) X("r11", 0x58)  \
    X("r12", 0x60) X("r13", 0x68) X("r14", 0x70) X("r15", 0x78)
#define LOAD(n, o) "mov 0x10200000+" #o ", %" n "\n"
#define SAVE(n, o) "mov %" n ", 0x10200080+" #o "\n"

/* Copied to STUB; every address in it is absolute. */
__asm__(".pushsection .text\n"
        ".globl native1_stub, native1_stub_end\n"
        "native1_stub:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "mov %rsp, 0x10200110\n"
        "mov $7, %eax; xor %edx, %edx; xrstor64 0x10200140\n"
        "push 0x10200100; popfq\n"
        ALL_REGS(LOAD)
        "jmp *0x10200118\n"
        ".org native1_stub + 0x400\n" /* EXIT_A */
        "movl $1, 0x10200120\n"
        "jmp 1f\n"
        ".org native1_stub + 0x440\n" /* EXIT_B */
        "movl $2, 0x10200120\n"
        "1:\n"
        ALL_REGS(SAVE)
        "mov 0x10200110, %rsp\n"
        "pushfq; pop 0x10200108\n"
        "mov $7, %eax; xor %edx, %edx; xsave64 0x10200540\n"
        "jmp 2f\n"
        ".org native1_stub + 0x600\n" /* after a signal */
        "2:\n"
        "mov 0x10200110, %rsp\n"
        "push $0x202; popfq\n"
        "fninit; ldmxcsr 0x10200128; vzeroupper\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "ret\n"
        "native1_stub_end:\n"
        ".popsection\n");
extern const uint8_t native1_stub[], native1_stub_end[];

enum { EXIT_SIGNAL = STUB + 0x600 };

static struct ctx *const ctx = (struct ctx *)(uintptr_t)CTX;

static void on_signal(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;
    static const int order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI,
                                   REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13,
                                   REG_R14, REG_R15 };
    (void)info;
    if ((uint64_t)g[REG_RIP] - CODE >= CODE_LEN) {
        /* A branch to a bad address faults at its target. */
        if (ctx->exit != 0 || sig != SIGSEGV) {
            (void)signal(sig, SIG_DFL);
            return;
        }
    }
    for (unsigned i = 0; i < 16; i++)
        ctx->out[i] = (uint64_t)g[order[i]];
    ctx->flags_out = (uint64_t)g[REG_EFL];
    ctx->rip = (uint64_t)g[REG_RIP];
    ctx->error = (uint64_t)g[REG_ERR];
    ctx->trap = (uint64_t)g[REG_TRAPNO];
    ctx->cr2 = (uint64_t)g[REG_CR2];
    ctx->exit = 3;
    memcpy(ctx->xout, uc->uc_mcontext.fpregs, XSAVE_BYTES);
    g[REG_RIP] = EXIT_SIGNAL;
}

int native1_host_init(void)
{
    if (mmap(ctx, 0x2000, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1, 0) != ctx)
        return -1;
    void *stub = (void *)(uintptr_t)STUB;
    if (mmap(stub, 0x1000, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != stub)
        return -1;
    memcpy(stub, native1_stub, (size_t)(native1_stub_end - native1_stub));
    if (mprotect(stub, 0x1000, PROT_READ | PROT_EXEC))
        return -1;
    static uint8_t alt[65536];
    const stack_t ss = { .ss_sp = alt, .ss_size = sizeof alt };
    struct sigaction act = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    if (sigaltstack(&ss, NULL) || syscall(SYS_arch_prctl, ARCH_SET_GS, (unsigned long)GS_BASE))
        return -1;
    static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
    for (unsigned i = 0; i < sizeof signals / sizeof signals[0]; i++)
        if (sigaction(signals[i], &act, NULL))
            return -1;
    ctx->mxcsr = 0x1f80;
    return 0;
}

/* Components that XSAVE left out because they are in their initial state. */
static void fill_initial(uint8_t *area)
{
    uint64_t bv;
    memcpy(&bv, area + 512, 8);
    if (!(bv & 1)) {
        memset(area, 0, 24);
        memset(area + 32, 0, 128);
        area[0] = 0x7f;
        area[1] = 0x03;
    }
    if (!(bv & 2))
        memset(area + 160, 0, 256);
    if (!(bv & 4))
        memset(area + 576, 0, 256);
}

void native1_host_run(const struct test_case *c, struct outcome *out)
{
    void (*enter)(void);
    void *stub = (void *)(uintptr_t)STUB;
    memcpy(&enter, &stub, sizeof stub);
    memcpy(ctx->in, c->in.gpr, sizeof ctx->in);
    memcpy(ctx->xin, c->in.xsave, XSAVE_BYTES);
    ctx->flags_in = c->in.rflags;
    ctx->target = c->slot;
    ctx->exit = 0;
    enter();
    out->vector = -1;
    out->error = 0;
    out->cr2 = 0;
    memcpy(out->regs.gpr, ctx->out, sizeof ctx->out);
    out->regs.rflags = ctx->flags_out;
    memcpy(out->regs.xsave, ctx->xout, XSAVE_BYTES);
    fill_initial(out->regs.xsave);
    out->regs.rip = ctx->exit == 1 ? EXIT_A : EXIT_B;
    if (ctx->exit == 3) {
        out->vector = (int)ctx->trap;
        out->error = (uint32_t)ctx->error;
        out->cr2 = out->vector == 14 ? ctx->cr2 : 0;
        out->regs.rip = ctx->rip;
    }
}
