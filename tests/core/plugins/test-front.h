/*
 * test-front.h: the instances of some classes of test-front, so that a test can look into them.
 */
#ifndef TEST_FRONT_H
#define TEST_FRONT_H

#include <mobo/plugin.h>

#include <mobo/accel.h>
#include <mobo/block.h>

struct child {
    uint64_t at;
    const char *label;
    mobo_irq_t irq;
};

struct dev {
    mobo_obj_t *obj;
    mobo_mmio_t bus;
    mobo_block_t drive;
    mobo_irq_t line;
    uint32_t queues, cache, flag;
    uint64_t count, bytes;
    const char *serial;
    uint8_t mac[6];
};

struct disk {
    mobo_obj_t *obj;
    const char *path;
};

struct slow {
    mobo_obj_t *obj;
    uint32_t level, common;
};

struct bus {
    mobo_obj_t *obj;
    mobo_irqchip_t chip;
};

#endif
