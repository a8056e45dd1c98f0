/* dev-pc: the small chips of a PC: 8259, 82093AA, 8254, MC146818, 16550A, ACPI hardware. */
#include "dev-pc.h"

MOBO_PLUGIN("dev-pc", "0.1", "MIT", &pic_class, &ioapic_class, &pit_class, &rtc_class, &uart_class,
            &pm_class)
