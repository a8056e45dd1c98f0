/* ops_flow.h: jumps and calls through memory; compiled by ops_kinds.h for interp_fast_flow.c. */
HANDLER(K(jmp_m))
{
    uint64_t to, at = EA(8, 0);
    LD(to, at, 64, jmp_m);
    JUMP(to, jmp_m);
}

HANDLER(K(call_m))
{
    uint64_t to, at = EA(8, 0), sp = cpu->gpr[REG_RSP] - 8;
    LD(to, at, 64, call_m);
    CALL(to, sp, call_m);
}
