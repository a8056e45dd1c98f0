/* fw-acpi.h: what the files of fw-acpi share: the machine as ACPI sees it, and a table builder. */
#ifndef FW_ACPI_H
#define FW_ACPI_H

#include <mobo/firmware.h>
#include <mobo/plugin.h>

/* All tables lie where every kernel looks for the RSDP, in one block. */
enum { AREA_BASE = 0xe0000, AREA_LEN = 0x20000 };
enum { HEADER_LEN = 36, FACS_LEN = 64, RSDP_LEN = 36, MAX_TABLES = 16 };

/* What the tables need to know beyond the list of devices itself. */
struct board {
    mobo_obj_t *obj;
    uint32_t vcpus;
    const mobo_fw_device_t *pm;  /* or NULL */
    const mobo_fw_device_t *rtc; /* or NULL */
    uint32_t sci, sci_flags;     /* GSI of the SCI */
    int has_pic, has_i8042, has_pci, has_legacy;
};

/* The block being filled, and where each table begins. */
struct area {
    uint8_t *buf;                /* AREA_LEN bytes */
    uint32_t len;
    int failed;                  /* it did not fit */
    uint32_t table[MAX_TABLES];  /* offsets of the tables that RSDT and XSDT list */
    uint32_t table_count;
    const char *oem_id, *oem_table_id; /* 6 and 8 characters */
};

/* tables.c */
uint32_t area_put(struct area *m, uint64_t v, unsigned bytes);
void area_align(struct area *m, uint32_t to);
uint32_t table_begin(struct area *m, const char *signature, uint8_t revision);
void table_end(struct area *m, uint32_t start);
uint8_t checksum(const uint8_t *p, uint32_t len);
void put_rsdp(struct area *m, uint32_t at, uint32_t rsdt, uint32_t xsdt);
uint32_t put_facs(struct area *m);
uint32_t put_fadt(struct area *m, const struct board *b, uint32_t facs, uint32_t dsdt);
void put_madt(struct area *m, const struct board *b);
void put_waet(struct area *m);
uint32_t put_root(struct area *m, const char *signature, unsigned entry_bytes);

/* dsdt.c */
uint32_t put_dsdt(struct area *m, const struct board *b);
/* Resource number I of a description. */
mobo_fw_res_t fw_res(const mobo_fw_device_t *d, uint32_t i);
/* The ISA line that reaches GSI: overrides turned round. ~0: none. */
uint32_t isa_line_of(const struct board *b, uint64_t gsi);

#endif
