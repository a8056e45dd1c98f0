/*
 * classes.h: the class tables of the device types; one file each.
 */
#ifndef VIRTIO_CLASSES_H
#define VIRTIO_CLASSES_H

#include <mobo/plugin.h>

extern const mobo_class_t virtio_blk_class;
extern const mobo_class_t virtio_rng_class;
extern const mobo_class_t virtio_console_class;

#endif
