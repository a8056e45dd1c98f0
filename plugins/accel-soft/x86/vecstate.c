/*
 * vecstate.c: moves the guest's vector and x87 registers between struct vcpu and the host's
 * registers. It does not execute instructions (native.c, rw/vec.c) and decides only by control
 * registers whether they may execute.
 *
 * All functions are free of vector instructions but for those written down here: between the moves
 * and the caller nothing may touch the registers.
 */
#include "vecstate.h"

#include "fpu.h"

#define ALONE __attribute__((target("general-regs-only")))

/* initial-exec: the dynamic linker allocates nothing at the first use. */
static _Thread_local struct vcpu *live_here __attribute__((tls_model("initial-exec")));

static const uint32_t mxcsr_host = MXCSR_INIT;

#define ALL_16(one) \
    one(0) one(1) one(2) one(3) one(4) one(5) one(6) one(7) \
    one(8) one(9) one(10) one(11) one(12) one(13) one(14) one(15)
#define YMM_STORE(n) "vmovdqa %%ymm" #n ", 32*" #n "(%0)\n\t"
#define YMM_LOAD(n) "vmovdqa 32*" #n "(%0), %%ymm" #n "\n\t"
#define XMM_STORE(n) "movdqa %%xmm" #n ", 32*" #n "(%0)\n\t"
#define XMM_LOAD(n) "movdqa 32*" #n "(%0), %%xmm" #n "\n\t"

/* A host without AVX shows none to its guests: upper halves at home stay as they are. */
static ALONE bool host_avx(void)
{
    return __builtin_cpu_supports("avx");
}

static ALONE void store_vectors(struct vcpu *cpu)
{
    if (host_avx())
        __asm__ volatile(ALL_16(YMM_STORE) "vzeroupper" : : "r"(cpu->ymm) : "memory");
    else
        __asm__ volatile(ALL_16(XMM_STORE) : : "r"(cpu->ymm) : "memory");
    __asm__ volatile("stmxcsr %0\n\tldmxcsr %1" : "=m"(cpu->mxcsr) : "m"(mxcsr_host) : "memory");
}

static ALONE void load_vectors(struct vcpu *cpu)
{
    if (host_avx())
        __asm__ volatile(ALL_16(YMM_LOAD) : : "r"(cpu->ymm) : "memory");
    else
        __asm__ volatile(ALL_16(XMM_LOAD) : : "r"(cpu->ymm) : "memory");
    __asm__ volatile("ldmxcsr %0" : : "m"(cpu->mxcsr) : "memory");
}

/*
 * The host's pointers name the code cache and host memory; the guest's are written to the home by
 * whoever executes x87 instructions, so they stay. Call with the host's MXCSR: the image keeps it.
 */
static ALONE void store_x87(struct vcpu *cpu)
{
    struct x87_image *f = &cpu->x87;
    uint64_t fip = f->fip, fdp = f->fdp;
    uint16_t fop = f->fop;
    __asm__ volatile("fxsave64 %0\n\tfninit" : "+m"(*f) : : "memory");
    f->fip = fip;
    f->fdp = fdp;
    f->fop = fop;
}

ALONE void vec_out(struct vcpu *cpu)
{
    if (!cpu->vec_live)
        return;
    store_vectors(cpu);
    if (cpu->x87_live)
        store_x87(cpu);
    cpu->vec_live = cpu->x87_live = cpu->vec_ready = 0;
    live_here = NULL;
}

ALONE void vec_out_thread(void)
{
    if (live_here)
        vec_out(live_here);
}

ALONE void vec_in(struct vcpu *cpu)
{
    if (cpu->vec_live)
        return;
    load_vectors(cpu);
    cpu->vec_live = 1;
    live_here = cpu;
    vec_ready_update(cpu);
}

/* FXRSTOR loads the vector registers and MXCSR too, with what nobody wants: they come after it. */
ALONE void vec_in_x87(struct vcpu *cpu)
{
    if (cpu->x87_live)
        return;
    if (cpu->vec_live)
        store_vectors(cpu);
    __asm__ volatile("fxrstor64 %0" : : "m"(cpu->x87) : "memory");
    load_vectors(cpu);
    cpu->vec_live = cpu->x87_live = 1;
    live_here = cpu;
    vec_ready_update(cpu);
}

/* The conditions of vec_check_...() in native.c. A pending x87 error is left to the instruction. */
static ALONE unsigned allowed(const struct vcpu *cpu)
{
    unsigned ok = 0;
    if (cpu->cr0 & CR0_TS)
        return 0;
    if (!(cpu->cr0 & CR0_EM))
        ok = cpu->cr4 & CR4_OSFXSR ? VEC_X87 | VEC_SSE : VEC_X87;
    if ((cpu->cr4 & CR4_OSXSAVE) && (cpu->xcr0 & (XSTATE_SSE | XSTATE_AVX)) == 6 &&
        (cpu->cr0 & CR0_PE) && !(cpu->fl & FL_VM))
        ok |= VEC_AVX;
    return ok;
}

ALONE void vec_ready_update(struct vcpu *cpu)
{
    unsigned ok = 0;
    if (cpu->vec_live)
        ok = allowed(cpu) & (cpu->x87_live ? VEC_SSE | VEC_AVX | VEC_X87 : VEC_SSE | VEC_AVX);
    cpu->vec_ready = (uint8_t)ok;
}

ALONE bool vec_need(struct vcpu *cpu, unsigned need)
{
    if (need & ~allowed(cpu))
        return false;
    if (need & VEC_X87)
        vec_in_x87(cpu);
    else if (need)
        vec_in(cpu);
    return true;
}
