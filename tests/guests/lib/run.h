/* run.h: what the parts of the runtime call of each other. */
#ifndef GUEST_RUN_H
#define GUEST_RUN_H

#include "guest.h"

void acpi_init(u64 start_info);
void tests_run(void);
void boot_main(void);
void ap_main(void);
void ap_loop(void);
#ifdef __x86_64__
void trap(struct frame *f);
#endif

#endif
