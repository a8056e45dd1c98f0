/*
 * test-fw-acpi.c: the tables of a whole board: checksums and pointers, the content of the MADT and
 * the FADT, and iasl's opinion of each table (taken apart and compiled again).
 */
#include "board.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AREA = 0xe0000, AREA_END = 0x100000 };

static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    memcpy(&v, p, bytes);
    return v;
}

static uint8_t sum(const uint8_t *p, uint64_t len)
{
    uint8_t s = 0;
    while (len--)
        s += *p++;
    return s;
}

/* The machine of machines/micro.ini with virtio devices and one far window. */
static struct fake *machine(uint32_t vcpus, int with_pm)
{
    struct fake *f = board_new(2 << 20, vcpus);
    assert_non_null(fake_add_(f, "mmio0", fake_class(PLUGINS "/bus-mmio.so", "mmio"),
                              "chip=ioapic0"));
    assert_non_null(fake_add(f, "pit0", dev_pc("pit"), NULL));
    assert_non_null(fake_add(f, "rtc0", dev_pc("rtc"), NULL));
    if (with_pm)
        assert_non_null(fake_add_(f, "pm0", dev_pc("pm"), "chip=isa0"));
    assert_non_null(fake_add(f, "com1", dev_pc("uart"), NULL));
    for (uint32_t i = 0; i < 3; i++) {
        mobo_fw_res_t res[] = {
            { .kind = MOBO_RES_MEM, .base = 0xd0000000u + i * 0x1000, .len = 0x1000 },
            { .kind = MOBO_RES_IRQ, .base = 16 + i, .len = 1,
              .flags = MOBO_IRQ_LEVEL | MOBO_IRQ_SHARED },
        };
        /* Names that clash, that start with a digit, that are too long. */
        static const char *const name[] = { "vda", "1vda", "virtual-disk" };
        if (i == 2)
            res[0].base = UINT64_C(0x8000000000);
        assert_int_equal(fake_fw_add(f, &(mobo_fw_device_t){
            .size = sizeof(mobo_fw_device_t), .kind = MOBO_FW_DEVICE, .name = name[i],
            .acpi_hid = "LNRO0005", .acpi_cid = i ? NULL : "PNP0C02", .id = i, .res_count = 2,
            .res_stride = sizeof res[0], .res = res }), 0);
    }
    assert_non_null(fake_add(f, "acpi0", fake_class(PLUGINS "/fw-acpi.so", "acpi"), NULL));
    fake_reset(f);
    assert_int_equal(fake_requests(f, MOBO_VM_FAIL), 0);
    return f;
}

static uint8_t *rsdp_of(struct fake *f)
{
    const mobo_acpi_ops_t *ops = fake_iface(f, "acpi0", MOBO_ACPI);
    uint64_t gpa = ops->rsdp(fake_self(f, "acpi0"));
    assert_true(gpa >= AREA && gpa < AREA_END && gpa % 16 == 0);
    uint8_t *p = fake_ram(f) + gpa;
    assert_memory_equal(p, "RSD PTR ", 8);
    assert_int_equal(p[15], 2);
    assert_int_equal(sum(p, 20), 0);
    assert_int_equal(sum(p, 36), 0);
    return p;
}

/* A table somebody points to: inside the area, whole, and with a right checksum. */
static uint8_t *table_at(struct fake *f, uint64_t gpa)
{
    assert_true(gpa >= AREA && gpa < AREA_END);
    uint8_t *p = fake_ram(f) + gpa;
    uint64_t len = get(p + 4, 4);
    assert_true(len >= 36 && len <= AREA_END - gpa);
    if (sum(p, len))
        fail_msg("%.4s at 0x%llx: wrong checksum", (char *)p, (unsigned long long)gpa);
    return p;
}

static uint8_t *find(struct fake *f, const char *signature)
{
    uint8_t *xsdt = table_at(f, get(rsdp_of(f) + 24, 8));
    uint64_t count = (get(xsdt + 4, 4) - 36) / 8;
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *t = table_at(f, get(xsdt + 36 + 8 * i, 8));
        if (memcmp(t, signature, 4) == 0)
            return t;
    }
    return NULL;
}

static void rsdt_and_xsdt_agree(void **state)
{
    (void)state;
    struct fake *f = machine(2, 1);
    uint8_t *rsdp = rsdp_of(f);
    uint8_t *rsdt = table_at(f, get(rsdp + 16, 4)), *xsdt = table_at(f, get(rsdp + 24, 8));
    assert_memory_equal(rsdt, "RSDT", 4);
    assert_memory_equal(xsdt, "XSDT", 4);
    uint64_t count = (get(rsdt + 4, 4) - 36) / 4;
    assert_int_equal(count, (get(xsdt + 4, 4) - 36) / 8);
    assert_true(count >= 3);
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(get(rsdt + 36 + 4 * i, 4), get(xsdt + 36 + 8 * i, 8));
    fake_free(f);
}

static void fadt_is_full_hardware(void **state)
{
    (void)state;
    struct fake *f = machine(1, 1);
    uint8_t *p = find(f, "FACP");
    assert_non_null(p);
    assert_int_equal(get(p + 4, 4), 276);
    assert_int_equal(p[8], 6);
    assert_int_equal(get(p + 36, 4), get(p + 132, 8)); /* FACS */
    assert_int_equal(get(p + 40, 4), get(p + 140, 8)); /* DSDT */
    assert_int_equal(get(p + 46, 2), 9);               /* SCI_INT */
    assert_int_equal(get(p + 48, 4), 0);               /* SMI_CMD */
    static const struct {
        unsigned old, len_at, gas, port, len;
    } blocks[] = { { 56, 88, 148, 0x600, 4 }, { 64, 89, 172, 0x604, 2 },
                 { 76, 91, 208, 0x608, 4 } };
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(get(p + blocks[i].old, 4), blocks[i].port);
        assert_int_equal(p[blocks[i].len_at], blocks[i].len);
        assert_int_equal(p[blocks[i].gas], 1);
        assert_int_equal(p[blocks[i].gas + 1], blocks[i].len * 8);
        assert_int_equal(get(p + blocks[i].gas + 4, 8), blocks[i].port);
    }
    assert_int_equal(p[108], 0x32);                     /* CENTURY */
    assert_int_equal(get(p + 109, 2), 1 | 4);           /* legacy devices, no VGA; RTC present */
    assert_int_equal(get(p + 112, 4), 1 | 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 10);
    assert_int_equal(get(p + 120, 8), 0xcf9);           /* RESET_REG */
    assert_int_equal(p[128], 6);                        /* RESET_VALUE */
    uint8_t *facs = fake_ram(f) + get(p + 36, 4);
    assert_memory_equal(facs, "FACS", 4);
    assert_int_equal((facs - fake_ram(f)) % 64, 0);
    fake_free(f);
}

static void madt_lists_processors_and_overrides(void **state)
{
    (void)state;
    static const uint32_t counts[] = { 1, 2, 64, 300 };
    for (unsigned c = 0; c < 4; c++) {
        struct fake *f = machine(counts[c], 1);
        uint8_t *p = find(f, "APIC");
        assert_non_null(p);
        assert_int_equal(get(p + 36, 4), 0xfee00000);
        assert_int_equal(get(p + 40, 4), 1);
        uint32_t cpus = 0, ioapics = 0, timer = 0, sci = 0, nmi = 0;
        for (uint64_t at = 44, end = get(p + 4, 4); at < end; at += p[at + 1]) {
            uint8_t *e = p + at;
            assert_true(e[1] >= 2 && at + e[1] <= end);
            if (e[0] == 0) {
                assert_int_equal(e[2], cpus);
                assert_int_equal(e[3], cpus);
                assert_true(e[3] != 0xff);
                assert_int_equal(e[4], 1);
                cpus++;
            } else if (e[0] == 9) {
                assert_int_equal(get(e + 4, 4), cpus);
                assert_int_equal(get(e + 12, 4), cpus);
                cpus++;
            } else if (e[0] == 1) {
                assert_int_equal(get(e + 4, 4), 0xfec00000);
                assert_int_equal(get(e + 8, 4), 0);
                ioapics++;
            } else if (e[0] == 2 && e[3] == 0) {
                assert_int_equal(get(e + 4, 4), 2);
                assert_int_equal(get(e + 8, 2), 0);
                timer++;
            } else if (e[0] == 2 && e[3] == 9) {
                assert_int_equal(get(e + 4, 4), 9);
                assert_int_equal(get(e + 8, 2), 0xd); /* level, active high */
                sci++;
            } else if (e[0] == 4) {
                assert_int_equal(e[2], 0xff);
                assert_int_equal(e[5], 1);
                nmi++;
            } else {
                fail_msg("entry of type %u", e[0]);
            }
        }
        assert_int_equal(cpus, counts[c]);
        assert_int_equal(ioapics, 1);
        assert_int_equal(timer, 1);
        assert_int_equal(sci, 1);
        assert_int_equal(nmi, 1);
        fake_free(f);
    }
}

static void area_is_reserved(void **state)
{
    (void)state;
    struct fake *f = machine(1, 1);
    mobo_mem_range_t r;
    int seen = 0;
    for (uint32_t i = 0; fake_obj(f, "acpi0")->host->fw->memory(fake_obj(f, "acpi0"), i, &r); i++)
        if (r.base == AREA) {
            assert_int_equal(r.len, AREA_END - AREA);
            assert_int_equal(r.kind, MOBO_MEM_RESERVED);
            seen = 1;
        }
    assert_true(seen);
    fake_free(f);
}

static void a_reset_writes_the_same_again(void **state)
{
    (void)state;
    struct fake *f = machine(4, 1);
    uint8_t *copy = malloc(AREA_END - AREA);
    memcpy(copy, fake_ram(f) + AREA, AREA_END - AREA);
    memset(fake_ram(f) + AREA, 0xcc, AREA_END - AREA);
    fake_reset(f);
    assert_memory_equal(fake_ram(f) + AREA, copy, AREA_END - AREA);
    free(copy);
    fake_free(f);
}

static void too_many_processors_end_the_machine(void **state)
{
    (void)state;
    struct fake *f = fake_new(2 << 20, 4000);
    assert_non_null(fake_add(f, "acpi0", fake_class(PLUGINS "/fw-acpi.so", "acpi"), NULL));
    fake_reset(f);
    assert_int_equal(fake_requests(f, MOBO_VM_FAIL), 1);
    assert_non_null(strstr(fake_last_log(f, MOBO_ERROR), "4000 virtual CPUs"));
    fake_free(f);
}

static void too_little_memory_is_refused(void **state)
{
    (void)state;
    struct fake *f = fake_new(640 << 10, 1);
    assert_null(fake_add(f, "acpi0", fake_class(PLUGINS "/fw-acpi.so", "acpi"), NULL));
    assert_non_null(strstr(fake_failure(f), "first MiB"));
    fake_free(f);
}

/* ---- iasl ------------------------------------------------------------------------------------ */

static void write_file(const char *path, const void *bytes, uint64_t len)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, len, out), len);
    fclose(out);
}

/* Run a command; its output must not speak of errors or warnings. */
static void run(const char *command)
{
    char line[512], all[8192] = "";
    int bad = 0;
    FILE *out = popen(command, "r");
    assert_non_null(out);
    while (fgets(line, sizeof line, out)) {
        bad |= strstr(line, "Error ") || strstr(line, "Warning ") || strstr(line, "Invalid");
        strncat(all, line, sizeof all - strlen(all) - 1);
    }
    int status = pclose(out);
    if (bad || status)
        fail_msg("%s: status %d\n%s", command, status, all);
}

/* Take the table apart and compile it again: iasl checks it both ways. */
static void iasl(const char *dir, const uint8_t *table, uint64_t len)
{
    char path[128], command[512];
    snprintf(path, sizeof path, "%s/%.4s.dat", dir, (const char *)table);
    write_file(path, table, len);
    snprintf(command, sizeof command, "cd %s && iasl -d %.4s.dat 2>&1", dir, (const char *)table);
    run(command);
    snprintf(command, sizeof command, "cd %s && iasl -oa -p again-%.4s %.4s.dsl 2>&1", dir,
             (const char *)table, (const char *)table);
    run(command);
    /* The same bytes again, except for who compiled it (header bytes 28-35) and the checksum. */
    snprintf(path, sizeof path, "%s/again-%.4s.aml", dir, (const char *)table);
    uint8_t *again = malloc(len + 1);
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    uint64_t got = fread(again, 1, len + 1, in);
    fclose(in);
    assert_int_equal(got, len);
    if (memcmp(table, "FACS", 4) != 0) {
        memcpy(again + 28, table + 28, 8);
        again[9] = table[9];
    }
    assert_memory_equal(again, table, len);
    free(again);
}

static void iasl_accepts(uint32_t vcpus, int with_pm)
{
    if (system("command -v iasl >/dev/null 2>&1")) {
        print_message("iasl is not installed (package acpica-tools): not checked\n");
        skip();
    }
    struct fake *f = machine(vcpus, with_pm);
    char dir[] = "/tmp/test-fw-acpi.XXXXXX", command[64];
    assert_non_null(mkdtemp(dir));
    uint8_t *xsdt = table_at(f, get(rsdp_of(f) + 24, 8));
    iasl(dir, xsdt, get(xsdt + 4, 4));
    uint8_t *rsdt = table_at(f, get(rsdp_of(f) + 16, 4));
    iasl(dir, rsdt, get(rsdt + 4, 4));
    for (uint64_t at = 36; at < get(xsdt + 4, 4); at += 8) {
        uint8_t *t = table_at(f, get(xsdt + at, 8));
        iasl(dir, t, get(t + 4, 4));
    }
    uint8_t *fadt = find(f, "FACP");
    uint8_t *dsdt = table_at(f, get(fadt + 140, 8)), *facs = fake_ram(f) + get(fadt + 132, 8);
    iasl(dir, dsdt, get(dsdt + 4, 4));
    iasl(dir, facs, get(facs + 4, 4));
    snprintf(command, sizeof command, "cat %s/DSDT.dsl", dir);
    char text[65536];
    FILE *in = popen(command, "r");
    assert_non_null(in);
    text[fread(text, 1, sizeof text - 1, in)] = 0;
    pclose(in);
    static const char *const want[] = { "Device (COM1)", "EisaId (\"PNP0501\")", "0x03F8",
                                        "\"ACPI0007\"", "EisaId (\"PNP0B00\")", "Device (VDA)",
                                        "\"LNRO0005\"", "QWordMemory", "Memory32Fixed",
                                        "Interrupt (ResourceConsumer, Level, ActiveHigh, Shared" };
    for (unsigned i = 0; i < sizeof want / sizeof want[0]; i++)
        if (!strstr(text, want[i]))
            fail_msg("the DSDT has no %s", want[i]);
    assert_int_equal(strstr(text, "_S5") != NULL, with_pm);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
    fake_free(f);
}

static void iasl_accepts_one_processor(void **state)
{
    (void)state;
    iasl_accepts(1, 1);
}

static void iasl_accepts_sixty_four(void **state)
{
    (void)state;
    iasl_accepts(64, 1);
}

static void iasl_accepts_no_power_management(void **state)
{
    (void)state;
    iasl_accepts(2, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rsdt_and_xsdt_agree),
        cmocka_unit_test(fadt_is_full_hardware),
        cmocka_unit_test(madt_lists_processors_and_overrides),
        cmocka_unit_test(area_is_reserved),
        cmocka_unit_test(a_reset_writes_the_same_again),
        cmocka_unit_test(too_many_processors_end_the_machine),
        cmocka_unit_test(too_little_memory_is_refused),
        cmocka_unit_test(iasl_accepts_one_processor),
        cmocka_unit_test(iasl_accepts_sixty_four),
        cmocka_unit_test(iasl_accepts_no_power_management),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
