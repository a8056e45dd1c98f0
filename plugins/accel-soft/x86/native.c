/*
 * native.c: executes vector, MMX and x87 instructions: the checks that come first, the memory
 * operand on its way through cpu->bounce, the thunk, and what is left to do after it. Encodings are
 * native_gen.c's, host faults native_sig.c's, images of the state fpu.c's, masked and gathered
 * memory operands vecmem.c's.
 *
 * Order of an instruction: #UD and #NM, pending #MF, address, alignment #GP, read or probe, thunk
 * (#XM leaves all registers but MXCSR as they were), write, RFLAGS and x87 pointers.
 *
 * CR0.NE = 0 would report x87 errors through FERR# and IRQ 13, which no board of ours wires: #MF is
 * raised either way.
 */
#include "native.h"
#include "fpu.h"
#include "mmu.h"
#include "native_int.h"
#include "vecstate.h"

#include <cpuid.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FSW_ES = 0x80, FSW_IE = 1, FSW_OE = 8, FSW_UE = 16 };

/* ---- checks ---------------------------------------------------------------------------------- */

void vec_check_sse(struct vcpu *cpu)
{
    if ((cpu->cr0 & CR0_EM) || !(cpu->cr4 & CR4_OSFXSR))
        x86_raise(cpu, VEC_UD);
    if (cpu->cr0 & CR0_TS)
        x86_raise(cpu, VEC_NM);
}

void vec_check_avx(struct vcpu *cpu)
{
    if (!(cpu->cr4 & CR4_OSXSAVE) || (cpu->xcr0 & (XSTATE_SSE | XSTATE_AVX)) != 6 ||
        !(cpu->cr0 & CR0_PE) || (cpu->fl & FL_VM))
        x86_raise(cpu, VEC_UD);
    if (cpu->cr0 & CR0_TS)
        x86_raise(cpu, VEC_NM);
}

void vec_check_x87(struct vcpu *cpu)
{
    if (cpu->cr0 & (CR0_EM | CR0_TS))
        x86_raise(cpu, VEC_NM);
    if (cpu->x87.fsw & FSW_ES)
        x86_raise(cpu, VEC_MF);
}

void vec_check_mmx(struct vcpu *cpu)
{
    if (cpu->cr0 & CR0_EM)
        x86_raise(cpu, VEC_UD);
    if (cpu->cr0 & CR0_TS)
        x86_raise(cpu, VEC_NM);
    if (cpu->x87.fsw & FSW_ES)
        x86_raise(cpu, VEC_MF);
}

void vec_enter_mmx(struct vcpu *cpu)
{
    fpu_set_top(cpu, 0);
    cpu->x87.ftw = 0xff;
}

static void check(struct vcpu *cpu, const struct native_thunk *t)
{
    if (t->flags & THUNK_X87) {
        vec_check_x87(cpu);
    } else if (t->flags & THUNK_VEX) {
        vec_check_avx(cpu);
    } else if (t->flags & THUNK_MMX) {
        if ((t->flags & THUNK_XMM) && !(cpu->cr4 & CR4_OSFXSR))
            x86_raise(cpu, VEC_UD);
        if (t->flags & THUNK_NO_MM) /* CVTPI2PS and CVTPI2PD from memory */
            vec_check_sse(cpu);
        else
            vec_check_mmx(cpu);
    } else {
        vec_check_sse(cpu);
    }
}

/* ---- execution ------------------------------------------------------------------------------- */

static unsigned enter(struct vcpu *cpu, const struct native_thunk *t, void *mem)
{
    if (native_guard.code != cpu->native->guard.code || native_guard.mxcsr != &cpu->mxcsr)
        native_sig_guard(&cpu->native->guard);
    return (unsigned)t->enter(cpu, mem);
}

/* Whole registers; mem: host address of the operand, or NULL for the slow path. */
static void move(struct vcpu *cpu, const struct native_thunk *t, uint64_t linear, uint8_t *mem)
{
    uint8_t *reg = cpu->ymm[t->reg];
    if (t->kind == THUNK_STORE) {
        if (mem)
            memcpy(mem, reg, t->mem_size);
        else
            mem_write_bytes(cpu, linear, reg, t->mem_size);
        return;
    }
    if (t->kind == THUNK_COPY) {
        mem = cpu->ymm[t->reg2];
    } else if (!mem) { /* a second page may fault after the first was read: not into the register */
        mem = cpu->bounce;
        mem_read_bytes(cpu, linear, mem, t->mem_size);
    }
    memmove(reg, mem, t->mem_size);
    if ((t->flags & THUNK_VEX) && t->mem_size == 16)
        memset(reg + 16, 0, 16);
}

/* An unmasked SIMD exception, or an encoding that the host refuses. Registers are unchanged. */
static _Noreturn void host_fault(struct vcpu *cpu, unsigned why)
{
    if (why == THUNK_SIMD_FAULT && (cpu->cr4 & CR4_OSXMMEXCPT))
        x86_raise(cpu, VEC_XM);
    x86_raise(cpu, VEC_UD);
}

/* Flags in, run, x87 pointers (SDM volume 1, 8.1.8). True: the memory operand was written. */
static bool run_x87(struct vcpu *cpu, const struct native_thunk *t, const struct x86_insn *in,
                    void *mem)
{
    struct x87_image *f = &cpu->x87;
    uint8_t *scratch = (uint8_t *)f + THUNK_SCRATCH;
    uint64_t fip = cpu->rip, fdp = f->fdp, flags;
    if (t->mem_rw)
        fdp = vec_ea(cpu, in);
    if (t->flags & THUNK_FLAGS_IN) {
        flags = (cpu_rflags(cpu) & FL_ARITH) | FL_1 | FL_IF;
        memcpy(scratch, &flags, 8);
    }
    unsigned why = enter(cpu, t, mem);
    if (why)
        host_fault(cpu, why);
    if (t->flags & THUNK_FLAGS_OUT) {
        memcpy(&flags, scratch, 8);
        cpu_set_rflags(cpu, flags, FL_ARITH);
    }
    f->fop = (uint16_t)((in->opcode & 7) << 8 | in->modrm);
    f->fip = fip;
    f->fdp = fdp;
    /* A store with an unmasked invalid operation, overflow or underflow did not take place. */
    return !(f->fsw & ~f->fcw & (FSW_IE | FSW_OE | FSW_UE));
}

static void run_vec(struct vcpu *cpu, const struct native_thunk *t, void *mem)
{
    if ((t->flags & (THUNK_MMX | THUNK_NO_MM)) == THUNK_MMX)
        vec_enter_mmx(cpu); /* even if a SIMD exception follows */
    unsigned why = enter(cpu, t, mem);
    if (why)
        host_fault(cpu, why);
    if (t->flags & THUNK_FLAGS_OUT) {
        uint64_t flags;
        memcpy(&flags, (uint8_t *)&cpu->x87 + THUNK_SCRATCH, 8);
        cpu_set_rflags(cpu, flags, FL_ARITH);
    }
}

/* In the common case the thunk works on the guest's RAM itself; else on a copy. */
void native_call(struct vcpu *cpu, const struct native_thunk *t, const struct x86_insn *in)
{
    uint64_t linear = 0;
    uint8_t *host = NULL;
    check(cpu, t);
    if (t->mem_rw) {
        bool write = t->mem_rw & OPND_WRITE;
        uint64_t ea = vec_ea(cpu, in);
        /* Misaligned comes before not canonical. */
        if ((t->flags & THUNK_ALIGNED) && ((ea + vec_seg_base(cpu, in->seg)) & (t->mem_size - 1u)))
            x86_raise_err(cpu, VEC_GP, 0);
        linear = seg_linear(cpu, in->seg, ea, t->mem_size, write);
        host = write ? tlb_host_w(cpu, linear, t->mem_size) : tlb_host_r(cpu, linear, t->mem_size);
    }
    if (t->kind != THUNK_RUN) {
        move(cpu, t, linear, host);
        return;
    }
    uint8_t *mem = host;
    if (!mem) {
        mem = cpu->bounce;
        if (t->mem_rw & OPND_READ)
            mem_read_bytes(cpu, linear, mem, t->mem_size);
        if (t->flags & THUNK_PROBE)
            mem_probe_write(cpu, linear, t->mem_size);
    }
    bool written = true;
    if (t->flags & THUNK_X87)
        written = run_x87(cpu, t, in, mem);
    else
        run_vec(cpu, t, mem);
    if (!host && written && (t->mem_rw & OPND_WRITE))
        mem_write_bytes(cpu, linear, mem, t->mem_size);
}

static void vzero(struct vcpu *cpu, const struct x86_insn *in)
{
    vec_check_avx(cpu);
    unsigned count = cpu->code_bits == 64 ? 16 : 8;
    for (unsigned i = 0; i < count; i++) {
        if (in->vex_l)
            memset(cpu->ymm[i], 0, 32);
        else
            memset(cpu->ymm[i] + 16, 0, 16);
    }
}

static bool is_emms(const struct x86_insn *in)
{
    return in->op == OP_MMX && in->map == 1 && in->opcode == 0x77;
}

static void emms(struct vcpu *cpu)
{
    vec_check_mmx(cpu);
    vec_enter_mmx(cpu);
    cpu->x87.ftw = 0;
}

/* ---- the cache ------------------------------------------------------------------------------- */

static int map_code(struct native *n)
{
    int fd = memfd_create("mobo-thunks", MFD_CLOEXEC);
    if (fd < 0)
        return -1;
    int rc = -1;
    if (!ftruncate(fd, THUNK_CODE)) {
        void *rw = mmap(NULL, THUNK_CODE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        void *rx = mmap(NULL, THUNK_CODE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
        n->rw = rw == MAP_FAILED ? NULL : rw;
        n->rx = rx == MAP_FAILED ? NULL : rx;
        rc = n->rw && n->rx ? 0 : -1;
    }
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return rc;
}

int native_init(struct vcpu *cpu)
{
    mobo_obj_t *obj = cpu->soft ? cpu->soft->obj : NULL;
    struct native *n = calloc(1, sizeof *n);
    if (!n)
        return obj ? mobo_fail_code(obj, MOBO_ENOMEM, "no memory for the vector code of CPU %u",
                                    cpu->index)
                   : MOBO_ENOMEM;
    cpu->native = n;
    if (map_code(n) || native_sig_init()) {
        int err = errno;
        native_fini(cpu);
        return obj ? mobo_fail_code(obj, MOBO_EACCES,
                                    "the host gives no executable memory (%s): allow mmap with "
                                    "PROT_EXEC of a memfd in its security policy",
                                    strerror(err))
                   : MOBO_EACCES;
    }
    /* Offset 0: the way out of a thunk after a host fault (native_sig.c). */
    static const uint8_t out[] = { 0xdb, 0xe3, 0xc5, 0xf8, 0x77, 0xc3 }; /* fninit vzeroupper ret */
    memcpy(n->rw, out, sizeof out);
    n->guard = (struct thunk_guard){ (uintptr_t)n->rx, THUNK_CODE, &cpu->mxcsr };
    if (!__builtin_cpu_supports("avx"))
        memset(n->rw + 2, 0x90, 3);
    n->scratch_off = 64;
    n->used = 64 + THUNK_BYTES;
    return MOBO_OK;
}

void native_fini(struct vcpu *cpu)
{
    struct native *n = cpu->native;
    if (!n)
        return;
    if (n->rw)
        (void)munmap(n->rw, THUNK_CODE);
    if (native_guard.code == (uintptr_t)n->rx)
        native_guard = (struct thunk_guard){ 0 };
    if (n->rx)
        (void)munmap(n->rx, THUNK_CODE);
    free(n);
    cpu->native = NULL;
}

static struct native *native_get(struct vcpu *cpu)
{
    if (!cpu->native && native_init(cpu)) {
        if (cpu->up)
            cpu->up->stop(cpu->up_ctx, MOBO_STOP_FAIL, 0);
        soft_request(cpu, REQ_KICK);
        x86_unwind(cpu);
    }
    return cpu->native;
}

static void set_enter(struct native *n, struct native_thunk *t, size_t off)
{
    /* A data pointer becomes a code pointer: POSIX allows it, ISO C only through memory. */
    void *entry = n->rx + off;
    memcpy(&t->enter, &entry, sizeof entry);
}

/* Free slot or the one that holds the key. */
static struct native_thunk *find(struct native *n, const struct native_thunk *key)
{
    uint32_t h = 2166136261u;
    for (unsigned i = 0; i < key->key_len; i++)
        h = (h ^ key->key[i]) * 16777619u;
    h ^= h >> 15;
    for (;; h++) {
        struct native_thunk *t = &n->slot[h % THUNK_SLOTS];
        if (!t->key_len || (t->key_len == key->key_len && !memcmp(t->key, key->key, t->key_len)))
            return t;
    }
}

static bool has_thunk(const struct x86_insn *in)
{
    if (in->op == OP_X87)
        return !fpu_is_control(in);
    return in->op == OP_VEC || (in->op == OP_MMX && !is_emms(in));
}

const struct native_thunk *native_thunk(struct vcpu *cpu, const struct x86_insn *in,
                                        const uint8_t *bytes)
{
    struct native_thunk key = { 0 };
    if (!has_thunk(in))
        return NULL;
    if (!cpu_has(cpu, in->feature))
        x86_raise(cpu, VEC_UD);
    struct native *n = native_get(cpu);
    if (!thunk_key(cpu, in, bytes, &key))
        return NULL;
    struct native_thunk *t = find(n, &key);
    if (t->key_len)
        return t;
    if (n->count == THUNK_MAX || n->used > THUNK_CODE - THUNK_BYTES)
        return NULL;
    size_t len = thunk_build(cpu, in, bytes, &key, n->rw + n->used);
    set_enter(n, &key, n->used);
    n->used += (len + 15) & ~(size_t)15;
    n->count++;
    *t = key;
    return t;
}

/* Once the cache is full: build, make the processor fetch anew (SDM volume 3A, 9.1.3), run. */
static void run_scratch(struct vcpu *cpu, const struct x86_insn *in, const uint8_t *bytes)
{
    struct native *n = native_get(cpu);
    unsigned a, b, c, d;
    (void)thunk_build(cpu, in, bytes, &n->scratch, n->rw + n->scratch_off);
    set_enter(n, &n->scratch, n->scratch_off);
    __cpuid(0, a, b, c, d);
    native_call(cpu, &n->scratch, in);
}

static struct native_recent *recent(struct native *n, const uint8_t *bytes)
{
    uintptr_t at = (uintptr_t)bytes;
    return &n->recent[(at >> 4 ^ at >> 14) % NATIVE_RECENT];
}

/* A caller keeps an instruction's bytes in one place, so that place finds its thunk again. */
static bool run_recent(struct vcpu *cpu, const struct x86_insn *in, const uint8_t *bytes)
{
    if (!cpu->native)
        return false;
    const struct native_recent *e = recent(cpu->native, bytes);
    if (!e->thunk || e->len != in->len || e->code_bits != cpu->code_bits ||
        memcmp(e->bytes, bytes, in->len))
        return false;
    native_call(cpu, e->thunk, in);
    return true;
}

static void note_recent(struct vcpu *cpu, const struct x86_insn *in, const uint8_t *bytes,
                        const struct native_thunk *t)
{
    struct native_recent *e = recent(cpu->native, bytes);
    e->thunk = t;
    e->len = in->len;
    e->code_bits = cpu->code_bits;
    memcpy(e->bytes, bytes, in->len);
}

bool vec_handles(enum x86_op op)
{
    return op >= OP_FXSAVE && op <= OP_VGATHER;
}

static __attribute__((noinline)) void execute(struct vcpu *cpu, const struct x86_insn *in,
                                              const uint8_t *bytes)
{
    if (run_recent(cpu, in, bytes))
        return;
    switch (in->op) {
    case OP_VZERO:
        vzero(cpu, in);
        return;
    case OP_VMASKMOV:
        vec_maskmov(cpu, in);
        return;
    case OP_MASKMOV:
        vec_maskmovq(cpu, in);
        return;
    case OP_VGATHER:
        vec_gather(cpu, in, bytes);
        return;
    case OP_X87:
        if (fpu_control(cpu, in))
            return;
        break;
    case OP_MMX:
        if (is_emms(in)) {
            emms(cpu);
            return;
        }
        break;
    case OP_VEC:
        break;
    default:
        fpu_execute(cpu, in);
        return;
    }
    const struct native_thunk *t = native_thunk(cpu, in, bytes);
    if (!t) {
        run_scratch(cpu, in, bytes);
        return;
    }
    note_recent(cpu, in, bytes, t);
    native_call(cpu, t, in);
}

/* Callers may have the guest's registers live: nothing before vec_out() may use vector ones. */
__attribute__((target("general-regs-only"))) void
vec_execute(struct vcpu *cpu, const struct x86_insn *in, const uint8_t *bytes)
{
    vec_out(cpu);
    execute(cpu, in, bytes);
}
