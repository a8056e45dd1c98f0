/* dev-pc.h: the classes of dev-pc, one file each, and the arithmetic they share. */
#ifndef DEV_PC_H
#define DEV_PC_H

#include <mobo/firmware.h>
#include <mobo/plugin.h>

extern const mobo_class_t pic_class, ioapic_class, pit_class, rtc_class, uart_class, pm_class;

enum { NS_PER_S = 1000000000 };

/* A * B / C with a product of 128 bits: clock conversions that never drift and never wrap. */
static inline uint64_t mul_div(uint64_t a, uint64_t b, uint64_t c)
{
    __extension__ typedef unsigned __int128 u128;
    return (uint64_t)((u128)a * b / c);
}

static inline uint64_t mul_div_up(uint64_t a, uint64_t b, uint64_t c)
{
    __extension__ typedef unsigned __int128 u128;
    return (uint64_t)(((u128)a * b + c - 1) / c);
}

#endif
