/*
 * aml.h: a writer of ACPI Machine Language (ACPI 6.5, chapter 20). It can say what descriptions of
 * devices need, and no more: there are no expressions beyond constants and names.
 */
#ifndef AML_H
#define AML_H

#include <stdint.h>

enum { AML_DEPTH = 16, AML_RES = 512 };

struct aml {
    uint8_t *buf;
    uint32_t cap, len;
    int failed;                /* something did not fit or was no valid name */
    uint32_t depth;
    uint32_t start[AML_DEPTH]; /* where the PkgLength of each open object goes */
    uint8_t res[AML_RES];      /* the resource template being collected */
    uint32_t res_len;
};

void aml_init(struct aml *a, void *buf, uint32_t cap);
/* 0 and the length, or -1 if anything went wrong or an object is still open. */
int aml_done(struct aml *a, uint32_t *len);

/* Objects with a body; each is closed by aml_end. Paths: "\\_SB_", "COM1", "\\_SB_.PCI0". */
void aml_scope(struct aml *a, const char *path);
void aml_device(struct aml *a, const char *name);
void aml_method(struct aml *a, const char *name, unsigned args, int serialized);
void aml_package(struct aml *a, unsigned count); /* followed by COUNT elements */
void aml_end(struct aml *a);

/* Data and terms. */
void aml_int(struct aml *a, uint64_t v);
void aml_str(struct aml *a, const char *text);
void aml_buffer(struct aml *a, const void *bytes, uint32_t len);
void aml_path(struct aml *a, const char *path); /* a reference */
void aml_return(struct aml *a);                 /* followed by its value */
void aml_bytes(struct aml *a, const void *bytes, uint32_t len); /* ready-made AML */

/* Name(NAME, value); aml_name is followed by the value. */
void aml_name(struct aml *a, const char *name);
void aml_name_int(struct aml *a, const char *name, uint64_t v);
void aml_name_str(struct aml *a, const char *name, const char *text);
/* An id like "PNP0501" becomes a compressed EISA id, anything else ("LNRO0005") a string. */
void aml_name_eisa(struct aml *a, const char *name, const char *id);

/* Name(_CRS, ResourceTemplate() { ... }); ACPI 6.5, 6.4. */
enum { AML_IRQ_LEVEL = 1, AML_IRQ_LOW = 2, AML_IRQ_SHARED = 4 };
void aml_crs_begin(struct aml *a);
void aml_crs_io(struct aml *a, uint16_t base, uint8_t len);
void aml_crs_irq(struct aml *a, unsigned irq); /* an ISA line: edge, active high, exclusive */
void aml_crs_gsi(struct aml *a, uint32_t gsi, unsigned flags); /* AML_IRQ_... */
void aml_crs_mem32(struct aml *a, uint32_t base, uint32_t len);
void aml_crs_mem64(struct aml *a, uint64_t base, uint64_t len);
void aml_crs_end(struct aml *a);

#endif
