/*
 * debug.c: breakpoints of DR0-DR3 (SDM volume 3B, 17.2). While one is enabled the run loop executes
 * instruction by instruction, and pages with a watched datum never get fast TLB entries, so that each
 * access to them comes by here. Breakpoints on ports (CR4.DE) are not there.
 */
#include "sys.h"

enum { BREAK_EXECUTE = 0, BREAK_WRITE = 1, BREAK_PORT = 2, BREAK_ACCESS = 3 };

static bool enabled(const struct vcpu *cpu, unsigned n)
{
    return cpu->dr7 >> (2 * n) & 3;
}

static unsigned kind(const struct vcpu *cpu, unsigned n)
{
    return cpu->dr7 >> (16 + 4 * n) & 3;
}

/* LEN 2 means eight bytes (17.2.4); the address is taken as aligned to the length (17.2.5). */
static unsigned length(const struct vcpu *cpu, unsigned n)
{
    static const uint8_t bytes[4] = { 1, 2, 8, 4 };
    return bytes[cpu->dr7 >> (18 + 4 * n) & 3];
}

static bool watches(const struct vcpu *cpu, unsigned n)
{
    return enabled(cpu, n) && (kind(cpu, n) == BREAK_WRITE || kind(cpu, n) == BREAK_ACCESS);
}

bool debug_page_watched(const struct vcpu *cpu, uint64_t page)
{
    for (unsigned n = 0; n < 4; n++)
        if (watches(cpu, n) && (cpu->dr[n] ^ page) >> 12 == 0)
            return true;
    return false;
}

void debug_access(struct vcpu *cpu, uint64_t linear, unsigned len, bool write)
{
    for (unsigned n = 0; n < 4; n++) {
        uint64_t at = cpu->dr[n] & ~(uint64_t)(length(cpu, n) - 1);
        if (watches(cpu, n) && (write || kind(cpu, n) == BREAK_ACCESS) &&
            (linear - at < length(cpu, n) || at - linear < len))
            cpu->debug_hits |= (uint8_t)(1u << n);
    }
}

void debug_changed(struct vcpu *cpu)
{
    cpu->debug_armed = (cpu->dr7 & 0xff) != 0;
    cpu->debug_watch = false;
    for (unsigned n = 0; n < 4; n++)
        cpu->debug_watch |= watches(cpu, n);
    tlb_flush(cpu); /* entries of pages that are watched from now on, or no more */
}

void debug_raise(struct vcpu *cpu, uint64_t dr6)
{
    cpu->dr6 |= dr6;
    cpu->exc_pending = 1;
    cpu->exc_vector = VEC_DB;
    cpu->exc_has_error = 0;
}

bool debug_before(struct vcpu *cpu)
{
    uint64_t hits = 0, at = cpu->rip;
    bool resume = cpu->fl & FL_RF;
    cpu->debug_hits = 0;
    cpu->fl &= ~(uint32_t)FL_RF; /* for one instruction only; IRET may set it for the next one */
    if (cpu->code_bits != 64)
        at = (uint32_t)(at + cpu->seg[SEG_CS].base);
    for (unsigned n = 0; n < 4; n++)
        if (enabled(cpu, n) && kind(cpu, n) == BREAK_EXECUTE && cpu->dr[n] == at)
            hits |= 1u << n;
    if (!hits || resume || cpu->inhibit == 2)
        return false;
    debug_raise(cpu, hits);
    return true;
}
