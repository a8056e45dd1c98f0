/*
 * test-decode.c: hand-picked instructions through the decoder: the traps that a table of encodings
 * does not show. The comparison of all encodings is test-decode-zydis.c.
 */
#include "../../plugins/accel-soft/x86/dec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Decode hex digits; the rest of the 15 bytes is zero. */
static enum x86_dec_result dec_n(unsigned bits, const char *hex, unsigned n, struct x86_insn *in)
{
    uint8_t bytes[16] = { 0 };
    unsigned used = 0, val;

    for (int skip = 0; used < 15 && sscanf(hex, " %2x%n", &val, &skip) == 1; hex += skip)
        bytes[used++] = (uint8_t)val;
    return x86_decode(bytes, n ? n : 15, (struct x86_dec_mode){ (uint8_t)bits }, in);
}

static enum x86_dec_result dec(unsigned bits, const char *hex, struct x86_insn *in)
{
    return dec_n(bits, hex, 0, in);
}

static struct x86_insn good(unsigned bits, const char *hex)
{
    struct x86_insn in;

    if (dec(bits, hex, &in) != DEC_OK)
        fail_msg("%u-bit %s: undefined", bits, hex);
    return in;
}

/* ---- text: operation, operands and length at once; rip is 0x1000 ----------------------------- */

static const struct {
    uint8_t bits, len;
    const char *hex, *text; /* NULL: undefined */
} texts[] = {
    /* prefixes, REX, high bytes */
    { 64, 3, "48 89 e5", "mov rbp, rsp" },
    { 64, 2, "88 e0", "mov al, ah" },
    { 64, 3, "40 88 e0", "mov al, spl" },
    { 64, 3, "45 88 c8", "mov r8b, r9b" },
    { 64, 4, "48 66 89 c8", "mov ax, cx" },          /* REX before 66h does not count */
    { 64, 4, "66 48 89 c8", "mov rax, rcx" },        /* W wins over 66h */
    { 32, 1, "48 40", "dec eax" },
    { 64, 4, "64 2e 8b 00", "mov eax, dword fs:[rax]" }, /* CS does not undo FS */
    { 64, 3, "2e 8b 00", "mov eax, dword [rax]" },
    { 32, 3, "2e 8b 00", "mov eax, dword cs:[eax]" },
    { 32, 4, "64 2e 8b 00", "mov eax, dword cs:[eax]" },
    /* addresses */
    { 16, 2, "8b 00", "mov ax, word [bx+si]" },
    { 16, 4, "8b 06 34 12", "mov ax, word [0x1234]" },
    { 16, 3, "8b 46 fe", "mov ax, word [bp-0x2]" },
    { 16, 5, "66 67 8b 04 88", "mov eax, dword [eax+ecx*4]" },
    { 32, 4, "67 8b 47 10", "mov eax, dword [bx+0x10]" },
    { 32, 6, "8b 05 78 56 34 12", "mov eax, dword [0x12345678]" },
    { 64, 6, "8b 05 00 01 00 00", "mov eax, dword [0x1106]" },
    { 64, 7, "8b 04 25 00 00 00 80", "mov eax, dword [-0x80000000]" },
    { 64, 4, "8b 44 24 08", "mov eax, dword [rsp+0x8]" },
    { 64, 4, "42 8b 04 20", "mov eax, dword [rax+r12]" }, /* index 4 with REX.X is r12 */
    { 64, 4, "41 8b 04 24", "mov eax, dword [r12]" },
    { 64, 4, "41 8b 45 00", "mov eax, dword [r13]" },
    { 64, 10, "48 a1 88 77 66 55 44 33 22 11", "mov rax, qword [0x1122334455667788]" },
    { 64, 6, "67 a1 78 56 34 12", "mov eax, dword [0x12345678]" },
    { 16, 3, "a0 34 12", "mov al, byte [0x1234]" },
    /* immediates */
    { 64, 10, "48 b8 88 77 66 55 44 33 22 11", "mov rax, 0x1122334455667788" },
    { 64, 7, "48 c7 c0 ff ff ff ff", "mov rax, -0x1" },
    { 64, 3, "83 c0 f0", "add eax, -0x10" },
    { 64, 2, "6a ff", "push -0x1" },
    { 16, 3, "68 34 12", "push 0x1234" },
    { 64, 5, "68 ff ff ff ff", "push -0x1" },
    { 64, 4, "c8 10 00 01", "enter 0x10, 0x1" },
    { 32, 7, "ea 78 56 34 12 08 00", "jmp far 0x8:0x12345678" },
    { 16, 5, "9a 34 12 00 f0", "call far 0xf000:0x1234" },
    { 64, 7, "ea 78 56 34 12 08 00", NULL },
    { 64, 2, "d1 e0", "shl eax, 0x1" },
    { 64, 2, "d3 e8", "shr eax, cl" },
    { 64, 2, "d0 f0", "shl al, 0x1" },               /* /6 is SHL too */
    { 64, 6, "f7 c8 01 00 00 00", "test eax, 0x1" }, /* /1 is TEST too */
    /* default sizes of 64-bit mode */
    { 64, 1, "50", "push rax" },
    { 64, 2, "66 50", "push ax" },
    { 64, 2, "41 5f", "pop r15" },
    { 64, 2, "ff d0", "call rax" },
    { 64, 3, "66 ff d0", "call rax" },               /* Intel: 66h ignored */
    { 64, 6, "66 e8 00 00 00 00", "call 0x1006" },
    { 32, 4, "66 e8 10 00", "call 0x1014" },
    { 64, 2, "74 fe", "je 0x1000" },
    { 64, 7, "66 0f 84 00 00 00 00", "je 0x1007" },
    { 64, 2, "f3 c3", "ret" },
    { 64, 3, "f2 ff e0", "jmp rax" },
    { 64, 3, "3e ff e0", "jmp rax" },                /* NOTRACK */
    { 64, 3, "48 ff 28", "jmp far tbyte [rax]" },
    /* mode */
    { 64, 2, "63 c8", "movsx ecx, eax" },
    { 64, 3, "48 63 c8", "movsx rcx, eax" },
    { 32, 2, "63 c8", "arpl ax, cx" },
    { 64, 1, "06", NULL }, { 64, 1, "60", NULL }, { 64, 1, "ce", NULL }, { 64, 1, "d6", NULL },
    { 64, 2, "82 c0 01", NULL }, { 64, 2, "d4 0a", NULL },
    { 32, 1, "06", "push es" }, { 32, 1, "d6", "salc" }, { 32, 1, "27", "daa" },
    { 32, 3, "82 c0 01", "add al, 0x1" },
    { 32, 2, "62 00", "bound eax, qword [eax]" },
    { 32, 2, "c4 00", "les eax, fword [eax]" },
    { 16, 2, "c5 00", "lds ax, dword [bx+si]" },
    { 64, 4, "48 0f b2 00", "lss rax, tbyte [rax]" },
    { 32, 3, "0f 01 f8", NULL }, { 64, 3, "0f 01 f8", "swapgs" },
    { 32, 4, "f3 0f ae c0", NULL }, { 64, 4, "f3 0f ae c0", "rdfsbase eax" },
    { 64, 5, "f3 48 0f ae d1", "wrfsbase rcx" },
    /* segments, control and debug registers */
    { 64, 2, "8e d8", "mov ds, ax" }, { 64, 2, "8e c8", NULL }, { 64, 2, "8e f0", NULL },
    { 64, 3, "48 8c d8", "mov rax, ds" }, { 64, 3, "48 8c 18", "mov word [rax], ds" },
    { 64, 2, "0f a1", "pop fs" }, { 64, 2, "0f a8", "push gs" },
    { 64, 3, "0f 20 c0", "mov rax, cr0" }, { 32, 3, "0f 20 c0", "mov eax, cr0" },
    { 64, 3, "0f 22 18", "mov cr3, rax" },           /* mod ignored */
    { 64, 4, "44 0f 20 c0", "mov rax, cr8" },
    { 64, 3, "0f 20 c8", NULL }, { 64, 3, "0f 20 e8", NULL }, { 64, 4, "44 0f 20 c8", NULL },
    { 64, 3, "0f 23 f8", "mov dr7, rax" }, { 64, 4, "44 0f 23 c0", NULL },
    { 64, 3, "0f 24 c0", NULL },
    /* NOP and its neighbours */
    { 64, 1, "90", "nop" }, { 64, 2, "66 90", "nop" }, { 64, 2, "f3 90", "pause" },
    { 64, 2, "41 90", "xchg r8d, eax" }, { 64, 2, "48 90", "nop" },
    { 64, 4, "f3 0f 1e fa", "nop edx" },             /* ENDBR64 */
    { 64, 5, "66 0f 1f 04 00", "nop word [rax+rax]" },
    { 64, 3, "0f 0d 08", "prefetch [rax]" }, { 64, 3, "0f 18 10", "prefetch [rax]" },
    { 64, 2, "0f 0b", NULL }, { 64, 3, "0f b9 c0", NULL }, { 64, 3, "0f ff c0", NULL },
    /* LOCK */
    { 64, 3, "f0 01 00", "lock add dword [rax], eax" }, { 64, 3, "f0 01 c0", NULL },
    { 64, 3, "f0 03 00", NULL }, { 64, 3, "f0 39 00", NULL }, { 64, 2, "f0 90", NULL },
    { 64, 4, "f2 f0 87 00", "lock xchg dword [rax], eax" }, /* XACQUIRE ignored */
    { 64, 5, "f0 48 0f c7 08", "lock cmpxchg16b xmmword [rax]" },
    { 64, 4, "f0 0f c7 08", "lock cmpxchg8b qword [rax]" }, { 64, 3, "0f c7 c8", NULL },
    { 64, 5, "f0 0f ba 28 03", "lock bts dword [rax], 0x3" },
    { 64, 5, "f0 0f ba 20 03", NULL },
    { 64, 4, "f0 0f 20 c0", NULL },
    /* strings and ports */
    { 64, 3, "f3 48 a5", "rep movsq" }, { 64, 2, "f2 ae", "repne scasb" },
    { 64, 2, "66 a5", "movsw" }, { 64, 2, "48 6d", "insd" },
    { 64, 1, "ec", "in al, dx" }, { 64, 2, "48 ef", "out dx, eax" },
    { 64, 2, "e5 70", "in eax, 0x70" },
    /* mandatory prefixes */
    { 64, 4, "f3 0f b8 c1", "popcnt eax, ecx" }, { 64, 5, "66 f3 0f b8 c1", "popcnt ax, cx" },
    { 64, 3, "0f b8 c1", NULL },
    { 64, 4, "f3 0f bc c1", "tzcnt eax, ecx" }, { 64, 4, "f2 0f bc c1", "bsf eax, ecx" },
    { 64, 4, "f3 0f bd c1", "lzcnt eax, ecx" },
    { 64, 5, "f3 f2 0f 10 00", "vec.f2.0f.10 xmm0, qword [rax]" }, /* the last one counts */
    { 64, 5, "66 f2 0f 58 c1", "vec.f2.0f.58 xmm0, xmm1" },
    { 64, 4, "0f 38 f0 00", "movbe eax, dword [rax]" }, { 64, 4, "0f 38 f0 c0", NULL },
    { 64, 5, "66 0f 38 f1 00", "movbe word [rax], ax" },
    { 64, 5, "f2 0f 38 f0 c1", "crc32 eax, cl" }, { 64, 6, "66 f2 0f 38 f1 c1", "crc32 eax, cx" },
    { 64, 6, "f2 48 0f 38 f1 c1", "crc32 rax, rcx" },
    { 64, 5, "66 0f 38 f6 c1", "adcx eax, ecx" }, { 64, 5, "f3 0f 38 f6 c1", "adox eax, ecx" },
    /* vectors */
    { 64, 4, "66 0f ef c0", "vec.66.0f.ef xmm0, xmm0" },
    { 64, 3, "0f ef c1", "mmx.0f.ef mm0, mm1" },
    { 64, 4, "45 0f ef c1", "mmx.0f.ef mm0, mm1" }, /* REX does not extend MMX */
    { 64, 3, "c5 f8 77", "vzero.vex.0f.77" }, { 64, 2, "0f 77", "mmx.0f.77" },
    { 64, 4, "c5 fd ef c1", "vec.vex.66.0f.ef ymm0, ymm0, ymm1" },
    { 64, 4, "c5 f5 ef 00", "vec.vex.66.0f.ef ymm0, ymm1, ymmword [rax]" },
    { 64, 4, "c5 f0 ef c1", NULL },                  /* no prefix: MMX has no VEX form */
    { 64, 5, "66 c5 f1 ef c1", NULL }, { 64, 5, "40 c5 f1 ef c1", NULL },
    { 64, 5, "f0 c5 f1 ef c1", NULL },
    { 64, 4, "c5 f0 10 c1", NULL },                  /* vvvv must be 1111b */
    { 64, 4, "c5 fa 10 c1", "vec.vex.f3.0f.10 xmm0, xmm0, xmm1" },
    { 64, 4, "c5 fa 10 01", "vec.vex.f3.0f.10 xmm0, dword [rcx]" },
    { 64, 5, "c4 e2 7d 18 00", "vec.vex.66.0f38.18 ymm0, dword [rax]" },
    { 64, 6, "c4 e3 7d 19 c1 01", "vec.vex.66.0f3a.19 xmm1, ymm0, 0x1" },
    { 64, 6, "c4 e3 79 19 c1 01", NULL },            /* L must be 1 */
    { 64, 6, "c4 e3 71 4a c2 30", "vec.vex.66.0f3a.4a xmm0, xmm1, xmm2, xmm3" },
    { 64, 6, "c4 e2 71 90 04 10", "vgather.vex.66.0f38.90 xmm0, dword [rax+xmm2], xmm1" },
    { 64, 6, "c4 e2 79 90 04 10", NULL },            /* mask and destination the same */
    { 64, 5, "c4 e2 70 f2 c2", "andn eax, ecx, edx" },
    { 64, 5, "c4 e2 f0 f2 c2", "andn rax, rcx, rdx" },
    { 32, 5, "c4 e2 f0 f2 c2", "andn eax, ecx, edx" }, /* W ignored outside 64-bit mode */
    { 64, 5, "c4 e2 74 f2 c2", NULL },
    { 64, 5, "c4 e2 78 f3 c8", "blsr eax, eax" },
    { 64, 6, "c4 e3 7b f0 c1 05", "rorx eax, ecx, 0x5" },
    { 64, 4, "62 f1 7c 48", NULL },                  /* EVEX */
    { 64, 3, "8f e8 78", NULL },                     /* XOP */
    { 64, 4, "0f 0f c1 9e", NULL },                  /* 3DNow! */
    { 32, 4, "c5 f1 ef c2", "vec.vex.66.0f.ef xmm0, xmm1, xmm2" },
    /* x87 */
    { 64, 2, "d8 00", "x87.d8.00 dword [rax]" }, { 64, 2, "db 28", "x87.db.28 tbyte [rax]" },
    { 64, 2, "d9 d1", NULL }, { 64, 2, "d9 d0", "x87.d9.d0" }, { 64, 2, "df e0", "x87.df.e0 ax" },
    { 64, 2, "dc c1", "x87.dc.c1 st1, st0" }, { 64, 2, "db e3", "x87.db.e3" },
    { 64, 1, "9b", "fwait" },
};

static void test_text(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct x86_insn in;
        char buf[80];
        enum x86_dec_result result = dec(texts[i].bits, texts[i].hex, &in);

        if (!texts[i].text) {
            if (result != DEC_UD || in.op != OP_UD)
                fail_msg("%u-bit %s: defined", texts[i].bits, texts[i].hex);
            continue;
        }
        if (result != DEC_OK)
            fail_msg("%u-bit %s: undefined", texts[i].bits, texts[i].hex);
        x86_format(&in, 0x1000, buf, sizeof buf);
        if (strcmp(buf, texts[i].text) || in.len != texts[i].len)
            fail_msg("%u-bit %s: %s, %u bytes; expected %s, %u", texts[i].bits, texts[i].hex, buf,
                     in.len, texts[i].text, texts[i].len);
    }
}

/* ---- results --------------------------------------------------------------------------------- */

static void test_too_short_and_too_long(void **state)
{
    struct x86_insn in;

    (void)state;
    for (unsigned n = 1; n < 10; n++)
        assert_int_equal(dec_n(64, "48 b8 88 77 66 55 44 33 22 11", n, &in), DEC_MORE);
    assert_int_equal(dec_n(64, "48 b8 88 77 66 55 44 33 22 11", 10, &in), DEC_OK);
    /* 15 bytes are the limit: 14 prefixes and NOP pass, 15 prefixes do not */
    assert_int_equal(dec(64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", &in), DEC_OK);
    assert_int_equal(in.len, 15);
    assert_int_equal(dec(64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66", &in), DEC_LONG);
    assert_int_equal(dec(64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 01", &in), DEC_LONG);
    assert_int_equal(dec_n(64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66", 14, &in), DEC_MORE);
}

static void test_undefined_length(void **state)
{
    struct x86_insn in;

    (void)state;
    assert_int_equal(dec(64, "0f 0b", &in), DEC_UD);
    assert_int_equal(in.len, 2);
    assert_int_equal(dec(64, "0f b9 c0", &in), DEC_UD); /* UD1 has a ModRM byte */
    assert_int_equal(in.len, 3);
    assert_int_equal(dec_n(64, "0f ff", 2, &in), DEC_MORE); /* UD0 too */
}

/* ---- fields ---------------------------------------------------------------------------------- */

static void test_segments(void **state)
{
    (void)state;
    assert_int_equal(good(64, "8b 44 24 08").seg, SEG_SS);
    assert_int_equal(good(64, "8b 45 00").seg, SEG_SS);
    assert_int_equal(good(64, "41 8b 45 00").seg, SEG_DS); /* r13 is no stack pointer */
    assert_int_equal(good(64, "8b 04 20").seg, SEG_DS);    /* no index: rax is the base */
    assert_int_equal(good(16, "8b 42 00").seg, SEG_SS);    /* bp+si */
    assert_int_equal(good(16, "8b 06 00 00").seg, SEG_DS);
    assert_int_equal(good(64, "36 8b 00").seg, SEG_DS);    /* override without effect */
    assert_int_equal(good(64, "36 8b 00").flags & INSN_SEG_PREFIX, 0);
    assert_int_equal(good(32, "36 8b 00").seg, SEG_SS);
    assert_int_equal(good(64, "65 8b 45 00").seg, SEG_GS);
    assert_int_equal(good(32, "26 a4").seg, SEG_ES);       /* MOVS: the rSI side */
    assert_int_equal(good(32, "a4").seg, SEG_DS);
    assert_int_equal(good(32, "2e d7").seg, SEG_CS);       /* XLAT */
    assert_int_equal(good(32, "64 a1 00 00 00 00").seg, SEG_FS);
}

static void test_offsets(void **state)
{
    struct x86_insn in = good(64, "66 0f 3a 0f 44 88 10 03"); /* PALIGNR xmm0, [rax+rcx*4+16], 3 */

    (void)state;
    assert_int_equal(in.opcode_off, 3);
    assert_int_equal(in.modrm_off, 4);
    assert_int_equal(in.imm_off, 7);
    assert_int_equal(in.imm_len, 1);
    assert_int_equal(in.map, 3);
    assert_int_equal(in.pp, 0x66);
    assert_int_equal(in.scale, 4);
    assert_int_equal(in.disp, 16);
    in = good(64, "c4 43 1d 0c c8 07"); /* VBLENDPS ymm9, ymm12, ymm8, 7 */
    assert_int_equal(in.vex_v, 12);
    assert_int_equal(in.vex_l, 1);
    assert_int_equal(in.opcode_off, 3);
    assert_int_equal(in.opnd[0].reg, 9);
    assert_int_equal(in.opnd[2].reg, 8);
    assert_int_equal(in.opnd[0].rw, OPND_WRITE);
    in = good(64, "45 0f 58 c8"); /* ADDPS xmm9, xmm8 reads its destination */
    assert_int_equal(in.rex, 0x45);
    assert_int_equal(in.opnd[0].rw, OPND_READ | OPND_WRITE);
}

static void test_alignment(void **state)
{
    static const struct {
        const char *hex;
        bool aligned;
    } cases[] = {
        { "0f 58 00", true },        /* ADDPS */
        { "0f 10 00", false },       /* MOVUPS */
        { "0f 28 00", true },        /* MOVAPS */
        { "0f 28 c1", false },       /* registers */
        { "f3 0f 58 00", false },    /* ADDSS: 4 bytes */
        { "c5 f8 58 00", false },    /* VADDPS */
        { "c5 fc 28 00", true },     /* VMOVAPS ymm */
        { "66 0f 3a 63 00 00", false }, /* PCMPISTRI */
        { "f2 0f f0 00", false },    /* LDDQU */
        { "0f ef 00", false },       /* PXOR mm */
        { "48 0f c7 08", true },     /* CMPXCHG16B */
        { "0f c7 08", false },       /* CMPXCHG8B */
        { "0f ae 00", true },        /* FXSAVE */
    };

    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        if (!!(good(64, cases[i].hex).flags & INSN_ALIGNED) != cases[i].aligned)
            fail_msg("%s: alignment", cases[i].hex);
}

static void test_flags(void **state)
{
    static const char *const privileged[] = {
        "f4", "0f 01 10", "0f 01 18", "0f 00 d0", "0f 00 d8", "0f 01 f0", "0f 01 38", "0f 06",
        "0f 20 c0", "0f 22 c0", "0f 21 c0", "0f 23 c0", "0f 30", "0f 32", "0f 08", "0f 09", "0f 07",
        "0f 35", "0f 01 f8", "0f 01 d1", "66 0f 38 82 00",
    };
    static const char *const ends[] = {
        "eb 00", "e8 00 00 00 00", "c3", "cb", "cf", "74 00", "e2 00", "e3 00", "ff e0", "ff d0",
        "cc", "cd 80", "f1", "f4", "fb", "9d", "0f 05", "0f 07", "0f 34", "0f 35", "0f 22 c0",
        "0f 30", "0f 01 38", "0f 01 ca", "0f 01 cb", "8e d0", "0f a1", "0f 06", "0f 01 f0", "0f aa",
    };
    static const char *const neither[] = { "90", "01 c0", "0f a2", "0f 31", "ec", "a4", "e6 70",
                                           "fa", "9c", "8c d8", "0f 01 d0", "0f 01 20" };

    (void)state;
    for (unsigned i = 0; i < sizeof privileged / sizeof *privileged; i++)
        if (!(good(64, privileged[i]).flags & INSN_PRIV))
            fail_msg("%s is privileged", privileged[i]);
    for (unsigned i = 0; i < sizeof ends / sizeof *ends; i++)
        if (!(good(64, ends[i]).flags & INSN_ENDS_BLOCK))
            fail_msg("%s ends a block", ends[i]);
    for (unsigned i = 0; i < sizeof neither / sizeof *neither; i++)
        if (good(64, neither[i]).flags & (INSN_ENDS_BLOCK | INSN_PRIV))
            fail_msg("%s neither ends a block nor is privileged", neither[i]);
}

static void test_implicit(void **state)
{
    (void)state;
    assert_true(good(64, "66 0f 38 14 c1").flags & INSN_IMPLICIT_XMM0);   /* BLENDVPS */
    assert_true(good(64, "0f 38 cb c1").flags & INSN_IMPLICIT_XMM0);      /* SHA256RNDS2 */
    assert_true(good(64, "66 0f 3a 60 c1 00").flags & INSN_IMPLICIT_XMM0);
    assert_true(good(64, "66 0f 3a 61 c1 00").flags & INSN_READS_RAX_RDX);
    assert_true(good(64, "66 0f 3a 61 c1 00").flags & INSN_WRITES_RCX);
    assert_true(good(64, "66 0f 3a 63 c1 00").flags & INSN_WRITES_FLAGS);
    assert_true(good(64, "66 0f 2f c1").flags & INSN_WRITES_FLAGS);       /* COMISD */
    assert_true(good(64, "66 0f 38 17 c1").flags & INSN_WRITES_FLAGS);    /* PTEST */
    assert_true(good(64, "0f 58 c1").flags & INSN_FP);
    assert_false(good(64, "0f 57 c1").flags & INSN_FP);                   /* XORPS */
    assert_false(good(64, "0f 53 c1").flags & INSN_FP);                   /* RCPPS */
}

static void test_features(void **state)
{
    static const struct {
        uint8_t bits, feature;
        const char *hex;
    } cases[] = {
        { 64, FEAT_BASE, "01 c0" },          { 64, FEAT_CX8, "0f c7 08" },
        { 64, FEAT_CX16, "48 0f c7 08" },    { 64, FEAT_LAHF64, "9f" },
        { 32, FEAT_BASE, "9f" },             { 64, FEAT_CMOV, "0f 44 c1" },
        { 64, FEAT_SSE, "0f 58 c1" },        { 64, FEAT_SSE2, "66 0f 58 c1" },
        { 64, FEAT_AVX, "c5 f9 ef c1" },     { 64, FEAT_AVX2, "c5 fd ef c1" },
        { 64, FEAT_AVX, "c5 fc 58 c1" },     { 64, FEAT_AES, "66 0f 38 dc c1" },
        { 64, FEAT_AES, "c4 e2 79 dc c1" },  { 64, FEAT_VAES, "c4 e2 7d dc c1" },
        { 64, FEAT_PCLMUL, "66 0f 3a 44 c1 00" },
        { 64, FEAT_VPCLMUL, "c4 e3 7d 44 c1 00" },
        { 64, FEAT_AVX, "c4 e2 79 18 00" },  { 64, FEAT_AVX2, "c4 e2 79 18 c0" },
        { 64, FEAT_SSE3, "db 08" },          { 64, FEAT_FPU, "d8 c0" },
        { 64, FEAT_CMOV, "da c0" },          { 64, FEAT_MMX, "0f fc c1" },
        { 64, FEAT_SSE, "0f e0 c1" },        { 64, FEAT_SSSE3, "0f 38 00 c1" },
        { 64, FEAT_FMA, "c4 e2 71 98 c2" },  { 64, FEAT_F16C, "c4 e2 79 13 c1" },
        { 64, FEAT_BMI1, "c4 e2 70 f2 c2" }, { 64, FEAT_BMI2, "c4 e2 70 f5 c2" },
        { 64, FEAT_RDRAND, "0f c7 f0" },     { 64, FEAT_RDSEED, "0f c7 f8" },
        { 64, FEAT_RDPID, "f3 0f c7 f8" },   { 64, FEAT_XSAVEC, "0f c7 20" },
        { 64, FEAT_CLWB, "66 0f ae 30" },    { 64, FEAT_XSAVEOPT, "0f ae 30" },
    };

    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        if (good(cases[i].bits, cases[i].hex).feature != cases[i].feature)
            fail_msg("%s: feature %u, expected %u", cases[i].hex,
                     good(cases[i].bits, cases[i].hex).feature, cases[i].feature);
}

static void test_vex_outside_64_bit(void **state)
{
    struct x86_insn in;

    (void)state;
    /* bit 3 of vvvv, REX.B and bit 7 of the register immediate do not count there */
    in = good(32, "c4 e3 31 4a c2 f0");
    assert_int_equal(in.vex_v, 1);
    assert_int_equal(in.opnd[1].reg, 1);
    assert_int_equal(in.opnd[3].reg, 7);
    in = good(32, "c4 c3 71 4a c2 30");
    assert_int_equal(in.opnd[2].reg, 2);
    assert_int_equal(good(64, "c4 c3 31 4a c2 f0").opnd[3].reg, 15);
}

static void test_text_is_cut(void **state)
{
    struct x86_insn in = good(64, "48 b8 88 77 66 55 44 33 22 11");
    char buf[9];

    (void)state;
    memset(buf, '#', sizeof buf);
    x86_format(&in, 0, buf, 8);
    assert_string_equal(buf, "mov rax");
    assert_int_equal(buf[8], '#');
    for (unsigned op = 0; op < OP_COUNT; op++)
        assert_non_null(x86_op_name((enum x86_op)op));
    assert_string_equal(x86_op_name(OP_COUNT), "?");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_too_short_and_too_long),
        cmocka_unit_test(test_undefined_length),
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_offsets),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_implicit),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_vex_outside_64_bit),
        cmocka_unit_test(test_text_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
