/*
 * trace.c: the `trace` property: what the CPUs do, as text, for finding out why a guest does not
 * boot.
 */
#include "x86/sys.h"
#include "x86/vecstate.h"

#include <errno.h>

int trace_open(struct soft *s)
{
    s->trace_out = NULL;
    if (s->trace_prop == TRACE_NONE)
        return MOBO_OK;
    if (!s->trace_file_prop || !s->trace_file_prop[0]) {
        s->trace_out = stderr;
        return MOBO_OK;
    }
    s->trace_out = fopen(s->trace_file_prop, "we");
    if (!s->trace_out)
        return mobo_fail_code(s->obj, MOBO_EACCES, "trace-file %s: %s", s->trace_file_prop,
                              strerror(errno));
    return MOBO_OK;
}

void trace_close(struct soft *s)
{
    if (s->trace_out && s->trace_out != stderr)
        (void)fclose(s->trace_out);
    s->trace_out = NULL;
}

/* The bytes at rip without side effects on a fault: what cannot be read is not shown. */
static unsigned fetch(struct vcpu *cpu, uint8_t bytes[15])
{
    jmp_buf saved;
    volatile unsigned got = 0;
    uint64_t cr2 = cpu->cr2, faults = cpu->faults;
    memcpy(&saved, &cpu->unwind, sizeof saved);
    if (setjmp(cpu->unwind) == 0) {
        uint64_t base = cpu->code_bits == 64 ? 0 : cpu->seg[SEG_CS].base;
        for (unsigned i = 0; i < 15; i++) {
            bytes[i] = (uint8_t)mem_read(cpu, lin(cpu, base + cpu->rip + i), 1);
            got = i + 1;
        }
    } else {
        cpu->exc_pending = 0;
        cpu->cr2 = cr2;
        cpu->faults = faults;
    }
    memcpy(&cpu->unwind, &saved, sizeof saved);
    return got;
}

void trace_exec(struct vcpu *cpu)
{
    vec_out(cpu); /* stdio */
    uint8_t bytes[15] = { 0 };
    char text[96] = "(not mapped)";
    struct x86_insn in;
    unsigned got = fetch(cpu, bytes);
    struct x86_dec_mode mode = { .bits = cpu->code_bits };
    if (got)
        (void)snprintf(text, sizeof text, "(undefined: %02x %02x %02x)", bytes[0], bytes[1],
                       bytes[2]);
    if (got && x86_decode(bytes, got, mode, &in) == DEC_OK)
        (void)x86_format(&in, cpu->rip, text, sizeof text);
    const uint64_t *r = cpu->gpr;
    fprintf(cpu->soft->trace_out,
            "%u %04x:%016llx %-40s ax=%llx cx=%llx dx=%llx bx=%llx sp=%llx bp=%llx si=%llx di=%llx "
            "8=%llx 9=%llx 10=%llx 11=%llx 12=%llx 13=%llx 14=%llx 15=%llx fl=%llx\n",
            (unsigned)cpu->index, cpu->seg[SEG_CS].sel, (unsigned long long)cpu->rip, text,
            (unsigned long long)r[0], (unsigned long long)r[1], (unsigned long long)r[2],
            (unsigned long long)r[3], (unsigned long long)r[4], (unsigned long long)r[5],
            (unsigned long long)r[6], (unsigned long long)r[7], (unsigned long long)r[8],
            (unsigned long long)r[9], (unsigned long long)r[10], (unsigned long long)r[11],
            (unsigned long long)r[12], (unsigned long long)r[13], (unsigned long long)r[14],
            (unsigned long long)r[15], (unsigned long long)cpu_rflags(cpu));
}

void trace_event(struct vcpu *cpu, const char *what, unsigned vector, bool has_error,
                 uint32_t error)
{
    char code[24] = "";
    vec_out(cpu); /* stdio */
    if (has_error)
        (void)snprintf(code, sizeof code, " error %x", (unsigned)error);
    fprintf(cpu->soft->trace_out,
            "%u %s %u%s at %04x:%016llx cpl %u ss:sp %04x:%llx cr2 %llx fl %llx\n",
            (unsigned)cpu->index, what, vector, code, cpu->seg[SEG_CS].sel,
            (unsigned long long)cpu->rip, cpu->cpl, cpu->seg[SEG_SS].sel,
            (unsigned long long)cpu->gpr[REG_RSP], (unsigned long long)cpu->cr2,
            (unsigned long long)cpu_rflags(cpu));
}
